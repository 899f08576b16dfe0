"""How an app is called: by its interface, one app or several."""

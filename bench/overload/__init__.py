"""More requests than a server can answer."""

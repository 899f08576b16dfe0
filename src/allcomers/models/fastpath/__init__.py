"""The compiled fast path of an event loop: whole small requests, without a step in Python but the app's."""

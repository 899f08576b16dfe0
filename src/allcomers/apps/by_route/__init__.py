"""Counts by route: how each template of an app's framework is answered, and how long that takes."""

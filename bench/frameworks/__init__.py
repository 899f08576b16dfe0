"""Frameworks and their middleware, on this server and on others."""

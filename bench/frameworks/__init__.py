"""Frameworks and their middleware, here and on other servers."""

"""The fixtures of the tests of bad input."""

from support.bad_input import place, real, refuse, servers, taken

__all__ = ["place", "real", "refuse", "servers", "taken"]

"""Bytes to messages and back: pure, with no socket, no clock and no thread."""

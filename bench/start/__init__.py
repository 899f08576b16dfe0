"""The time to the first answer."""

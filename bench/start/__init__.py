"""The time to the first response."""

"""Processes that an app starts: the copies of a worker, and what is left of all at the end."""

"""The system's own threads and waits, whatever an app makes of the standard library's; and the stacks of threads."""

"""What holds: many idle, slow, large or restarted."""

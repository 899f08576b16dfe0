"""Every option: its default, its check, and the sources that set it."""

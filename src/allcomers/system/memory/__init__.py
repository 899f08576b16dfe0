"""The memory that this process may use, and what is held for all peers."""

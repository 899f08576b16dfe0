"""The distribution of connections over workers."""

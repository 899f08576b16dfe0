"""Compare with other servers."""

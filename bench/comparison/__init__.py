"""The comparison with other servers."""

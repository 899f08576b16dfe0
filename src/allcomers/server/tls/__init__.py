"""TLS certificates of a server: read from files, or made for this machine alone."""

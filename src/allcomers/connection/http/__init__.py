"""HTTP on a connection: requests, calls, responses, log records."""

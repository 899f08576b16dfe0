"""HTTP/2 (RFC 9113): a connection that has several exchanges at once, each in a stream of its own."""

"""HTTP/2 without a socket: header compression, frames, streams, windows (RFC 7541, RFC 9113)."""

"""One peer's connection, whatever waits for its socket: bytes and the time go in, calls and bytes come out."""

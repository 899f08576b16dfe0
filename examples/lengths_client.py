"""The client of lengths.py: one request, one response, each after four bytes of length.

python3 examples/lengths_client.py 127.0.0.1:9000 mean 3 5 8 13
"""

from __future__ import annotations

import json
import socket
import sys


def call(address: str, request: dict[str, object]) -> object:
    """Send a request over a connection of its own, return the response. Raises OSError; EOFError if that is cut."""
    host, _, port = address.rpartition(":")
    body = json.dumps(request).encode()
    with socket.create_connection((host, int(port)), timeout=10) as sock, sock.makefile("rb") as stream:
        sock.sendall(len(body).to_bytes(4, "big") + body)
        length = int.from_bytes(stream.read(4), "big")
        reply = stream.read(length)
    if not reply or len(reply) < length:
        raise EOFError("the server closed the connection before its response was whole")
    return json.loads(reply)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    address, operation, *figures = sys.argv[1:]
    print(call(address, {"op": operation, "values": [float(figure) for figure in figures]}))

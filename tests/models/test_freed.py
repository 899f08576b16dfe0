"""A peer that is gone is freed at once: nothing of it waits in a circle for the collector, which comes by seldom."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bench.endurance.soak import WebSocket

from support.certificates import Certificate
from support.harness import ROOT, Server, serving, wait_for
from support.wires import Wire, wire

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
BODY = POST + b"Content-Length: 600000\r\n\r\n" + bytes(40_000)
CHUNK = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"
GET = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"

ENDS: dict[str, tuple[bytes, int, Callable[[Wire], None]]] = {
    "idle": (GET % b"/", 100, Wire.reset),
    "in a head": (GET[:20], 0, Wire.reset),
    "in a body": (BODY, 0, Wire.reset),
    "in a body, closed": (BODY, 0, Wire.close),
    "in a chunk": (CHUNK, 0, Wire.reset),
    "in an answer": (GET % b"/stream", 1000, Wire.reset),
    "behind a failure": (GET % b"/fail", 1000, Wire.close),
    "behind a bad chunk": (CHUNK + b"zzzzzzz", 1000, Wire.close),
}
"""How a client ends: what it has sent, how much it has read, and how it goes."""


@pytest.mark.parametrize(
    ("app", "options", "is_tls"),
    [
        ("wsgi", ("-m", "epoll", "--calls", "pool"), True),
        ("wsgi", ("-m", "thread"), False),
        ("wsgi", ("-m", "poll"), False),
        ("asgi", ("-m", "asyncio"), True),
        ("asgi", ("-m", "epoll"), False),
        ("asgi", ("-m", "thread"), True),
    ],
)
def test_a_peer_that_is_gone_is_freed(
    certificate: Certificate, app: str, options: tuple[str, ...], is_tls: bool
) -> None:
    tls = certificate.trusted if is_tls else None
    target = f"{ROOT / 'tests/support/apps/circles.py'}:{app}"
    files = ("--certfile", str(certificate.pem)) if is_tls else ()
    with serving("run", target, "--lifespan", "off", *options, *files, quiet=False) as server:

        def leave(data: bytes, most: int, go: Callable[[Wire], None]) -> None:
            link = wire(server.address, tls)
            link.send(data)
            if most:
                link.receive(most)
            go(link)

        def count() -> str:
            with wire(server.address, tls) as link:
                link.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") % b"/count")
                data = b""
                while piece := link.receive():
                    data += piece
            return data.partition(b"\r\n\r\n")[2].decode()

        leave(*ENDS["idle"])
        wait_for(lambda: not count(), "what the start has left")
        for how, end in ENDS.items():
            for _ in range(5):
                leave(*end)
            settle(server, 3)
            assert count() == "", how
        if is_tls:
            with Wire(server.address) as link:
                link.send(b"\x16\x03\x01 no handshake")
                while link.receive():
                    pass
            assert count() == "", "no handshake"
        if app == "asgi" and "thread" not in options:
            sock = server.connect(tls)
            talk = WebSocket(sock)
            assert talk.echo(b"hello") == b"hello"
            talk.close()
            settle(server, 3)
            assert count() == "", "a WebSocket"


def settle(server: Server, times: int) -> None:
    """Let the server come to know that its peers have gone, by requests that it serves after that."""
    for _ in range(times):
        with server.connect() as sock:
            sock.sendall(b"\r\n")
            sock.shutdown(1)
            try:
                while sock.recv(1000):
                    pass
            except OSError:
                pass

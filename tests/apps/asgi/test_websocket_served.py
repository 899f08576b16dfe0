"""WebSockets on a real server: the lines of BAD_INPUT that are about them, byte by byte over a socket."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Sent, closing, deflated, frame, read
from support.harness import PATIENCE, Server, receive_all, serving, wait_for

MAX_SIZE = 1 << 20
HANDSHAKE = (
    b"GET /?%b HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: %d\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


@pytest.fixture(scope="module", params=["asyncio", "epoll"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    options = ["--model", request.param, "--ws-max-size", str(MAX_SIZE)]
    with serving("run", "tests/support/apps/websocket_app.py:app", *options) as server:
        yield server


def talk(server: Server, note: Path, version: int = 13) -> tuple[socket.socket, bytes]:
    """Return a socket after the handshake, and the head of its response."""
    sock = server.connect()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(HANDSHAKE % (quote(str(note), safe="").encode(), version))
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    return sock, head


def client(server: Server, **options: object) -> ClientConnection:
    host, port = server.address
    return connect(f"ws://{host}:{port}/", **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- as it should be


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_come_back(server: Server, compression: str | None) -> None:
    messages: list[str | bytes] = ["", "hello", b"\xff" * 70_000, "€" * 300_000, bytes(MAX_SIZE)]
    with client(server, compression=compression, subprotocols=["chat"], max_size=None) as websocket:
        assert websocket.subprotocol == "chat"
        for message in messages:
            websocket.send(message)
            assert websocket.recv() == message
        websocket.send(iter(["in ", "fragments"]))
        assert websocket.recv() == "in fragments"
        assert websocket.ping(b"x").wait(10)
    assert websocket.close_code == 1000


def test_first_frames_may_come_with_the_handshake(server: Server, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with server.connect() as sock:
        sock.sendall(HANDSHAKE % (quote(str(note), safe="").encode(), 13) + frame(TEXT, b"a") + closing(4000))
        _, _, rest = receive_all(sock).partition(b"\r\n\r\n")
    assert read(rest)[-1] == Sent(CLOSE, b"\x0f\xa0")
    assert wait_for(lambda: note.exists() and note.read_text(), "the app to be told") == "4000"


# ---------------------------------------------------------------- as it should not be

QUARTER = bytes(MAX_SIZE // 4)
WRONG = {
    "a frame that says it is huge": ([frame(BINARY, size=1 << 40)[:10]], 1009),
    "a message that grows too large": (
        [frame(BINARY, QUARTER, fin=False), *[frame(CONT, QUARTER, fin=False)] * 4],
        1009,
    ),
    "a bomb": ([frame(BINARY, deflated(bytes(4 * MAX_SIZE)), reserved=4)], 1009),
    "bad UTF-8": ([frame(TEXT, b"\xff")], 1007),
    "bad UTF-8 in fragments": ([frame(TEXT, b"\xf4", fin=False), frame(CONT, b"\x90", fin=False)], 1007),
    "a frame without a mask": ([frame(TEXT, b"a", masked=False)], 1002),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_breaks_the_protocol(server: Server, tmp_path: Path, case: str) -> None:
    """BAD_INPUT 82 and 84; for 83, a flood of fragments, see protocol/test_websocket.py: here it takes seconds."""
    pieces, code = WRONG[case]
    note = tmp_path / "note"
    sock, _ = talk(server, note)
    with sock:
        for piece in pieces:
            try:
                sock.sendall(piece)
            except OSError:  # the server has said why, and does not listen any more
                break
        last = read(receive_all(sock))[-1]
    assert (last.opcode, last.payload[:2]) == (CLOSE, code.to_bytes(2, "big"))
    assert wait_for(lambda: note.exists() and note.read_text(), "the app to be told") == str(code)


def test_a_huge_frame_that_dribbles_in_is_refused_by_its_head(server: Server, tmp_path: Path) -> None:
    sock, _ = talk(server, tmp_path / "note")
    with sock:
        for byte in frame(BINARY, size=1 << 40)[:10]:
            sock.sendall(bytes([byte]))
        assert read(receive_all(sock))[-1].payload[:2] == (1009).to_bytes(2, "big")


@pytest.mark.parametrize("version", [8, 12, 14])
def test_another_version(server: Server, tmp_path: Path, version: int) -> None:
    """BAD_INPUT 85."""
    sock, head = talk(server, tmp_path / "note", version)
    sock.close()
    assert head.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nsec-websocket-version: 13\r\n" in head.lower()


def test_a_flood_of_pings_keeps_nobody_waiting(server: Server, tmp_path: Path) -> None:
    sock, _ = talk(server, tmp_path / "note")
    with sock, client(server) as websocket:
        sock.setblocking(False)
        pings, sent = frame(PING) * 10_000, 0
        for _ in range(5):
            with suppress(BlockingIOError):  # nobody reads the pongs
                sent += sock.send(pings[sent % 6 :])
            websocket.send("hello")
            assert websocket.recv(timeout=PATIENCE) == "hello"
        sock.setblocking(True)
        assert sock.recv(2) == bytes([0x80 | PONG, 0])


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
def test_a_server_that_leaves_says_so(model: str) -> None:
    with (
        serving("run", "tests/support/apps/websocket_app.py:app", "--model", model) as server,
        client(server) as websocket,
    ):
        websocket.send("hello")
        assert websocket.recv() == "hello"
        server.send(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            websocket.recv(timeout=PATIENCE)
        assert websocket.close_code == 1012

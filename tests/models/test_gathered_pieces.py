"""Pieces of a response that an app gives without a wait go out together; none is held while the app makes the next."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.harness import serving

APP = """
import os, time

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    flag = environ["QUERY_STRING"]
    yield b"one,"
    yield b"two,"
    yield b"three,"
    while not os.path.exists(flag):
        if environ["PATH_INFO"] == "/waits":
            time.sleep(0.001)
    yield b"four,"
    yield b"end"
"""

CHUNKS = [b"one,", b"two,", b"three,", b"four,", b"end"]


def body_of(data: bytes) -> bytes:
    """Return what the chunks have that have come of a response; how its pieces are cut into chunks is the server's."""
    _, _, left = data.partition(b"\r\n\r\n")
    found = b""
    while (line := left.partition(b"\r\n"))[1] and (size := int(line[0], 16)):
        found += line[2][:size]
        left = line[2][size + 2 :]
    return found


def received_until(sock: socket.socket, is_there: Callable[[bytes], bool]) -> bytes:
    sock.settimeout(30)
    data = b""
    while not is_there(data):
        piece = sock.recv(65536)
        assert piece
        data += piece
    return data


def is_whole(data: bytes) -> bool:
    return data.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "options",
    ["--calls inline", "--calls auto", "--calls pool", "--calls auto --model asyncio", "--calls pool --model thread"],
)
def test_no_piece_is_held_while_the_next_is_made(tmp_path: Path, options: str) -> None:
    (tmp_path / "streams.py").write_text(APP)
    with serving("run", f"{tmp_path}/streams.py:app", *options.split()) as server:
        for turn, does in enumerate(["waits", "computes", "waits"]):  # the way of a stream changes with those before it
            flag = tmp_path / f"go{turn}"
            with server.connect() as sock:
                sock.sendall(b"GET /%b?%b HTTP/1.1\r\nHost: test\r\n\r\n" % (does.encode(), bytes(flag)))
                data = received_until(sock, lambda data: body_of(data) == b"one,two,three,")
                flag.touch()
                data += received_until(sock, is_whole)
                assert body_of(data) == b"".join(CHUNKS)


@pytest.mark.parametrize("options", ["--calls inline", "--calls auto", "--calls pool"])
def test_each_piece_by_itself_where_that_is_asked_for(tmp_path: Path, options: str) -> None:
    (tmp_path / "streams.py").write_text(APP)
    with serving("run", f"{tmp_path}/streams.py:app", *options.split(), "--no-gather") as server:
        with server.connect() as sock:
            sock.sendall(b"GET /?/ HTTP/1.1\r\nHost: test\r\n\r\n")
            data = received_until(sock, is_whole)
        assert data.endswith(b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in CHUNKS) + b"0\r\n\r\n")

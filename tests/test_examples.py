"""The examples are whole."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from support.harness import ROOT, free_port, receive_all, serving, wait_for


def test_no_product_of_the_media_is_stale() -> None:
    """A stale .gz beside a page would be served in its place, from a clone where both are of one second."""
    command = [sys.executable, "examples/media/make.py", "check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr


def test_the_chat_stops_soon_though_a_page_is_open() -> None:
    """Its stream of events ends with the server, and the server does not wait for the app, which waits for news."""
    with serving("run", "examples/chat.py:app") as server, server.connect() as page:
        page.sendall(b"GET /here HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b"data: 0" not in received:
            received += page.recv(4096)
        server.send(signal.SIGTERM)
        assert receive_all(page).endswith(b"0\r\n\r\n")
        assert server.process.wait(20) == 0  # of the 30 s of --graceful-timeout


@pytest.mark.parametrize("model", ["process", "thread", "epoll"])
def test_the_servers_of_the_lecture_are_short_and_serve(model: str) -> None:
    path = ROOT / "examples" / "servers" / f"{model}_server.py"
    assert len(path.read_text().splitlines()) < 15
    port = free_port()
    program = path.read_text().replace("9000,", f"{port},")
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        with wait_for(lambda: _connected(port), "it to listen") as sock, sock.makefile("rb") as lines:
            sock.sendall(b"one\ntwo\n")
            assert [lines.readline(), lines.readline()] == [b"ONE\n", b"TWO\n"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def _connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=20)
    except ConnectionRefusedError:
        return None

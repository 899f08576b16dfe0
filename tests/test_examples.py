"""The examples are whole."""

from __future__ import annotations

import signal
import subprocess
import sys

from support.harness import ROOT, receive_all, serving


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

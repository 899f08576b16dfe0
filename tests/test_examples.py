"""The examples are whole."""

from __future__ import annotations

import signal
import subprocess
import sys

from support.harness import ROOT, receive_all, serving


def test_what_is_packed_is_what_the_site_says() -> None:
    """A stale .gz beside a page would be served in its place, from a clone where both are of one second."""
    command = [sys.executable, "examples/media/make.py", "check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr


def test_the_chat_stops_soon_though_a_page_is_open() -> None:
    """Its stream of events ends with the server, and the app that waits for news is not waited for."""
    with serving("run", "examples/chat.py:app") as server, server.connect() as page:
        page.sendall(b"GET /here HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heard = b""
        while b"data: 0" not in heard:
            heard += page.recv(4096)
        server.send(signal.SIGTERM)
        assert receive_all(page).endswith(b"0\r\n\r\n")
        assert server.process.wait(20) == 0  # of the 30 s that what is begun may take

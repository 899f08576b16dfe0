"""Clients that ask a server again and again while something happens to it, and tell what went wrong."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from support.harness import PATIENCE, Server, wait_for


class Answer(NamedTuple):
    status: int
    body: bytes
    close: bool


def request(path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()


def receive(sock: socket.socket) -> Answer:
    """One whole answer that has a Content-Length. Raises ConnectionError where it is not whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.I)
    assert length, head
    while len(body) < int(length[1]):
        body += _more(sock)
    return Answer(int(head[9:12]), body, b"\r\nconnection: close" in head.lower())


def _more(sock: socket.socket) -> bytes:
    piece = sock.recv(65536)
    if not piece:
        raise ConnectionError("the server closed before the answer was whole")
    return piece


def exchange(sock: socket.socket, path: str = "/") -> Answer:
    """Ask on a connection that stays open, and read the answer."""
    sock.sendall(request(path))
    return receive(sock)


UPLOAD = 300_000
"""Bytes of an upload: more than the kernel holds, so it is on its way for a while."""


def upload(sock: socket.socket) -> Answer:
    """Send a body, in pieces, on a connection that stays open, and read the answer."""
    sock.sendall(f"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {UPLOAD}\r\n\r\n".encode())
    for begin in range(0, UPLOAD, 10_000):
        sock.sendall(bytes(min(10_000, UPLOAD - begin)))
        time.sleep(0.002)  # the time that a network takes
    return receive(sock)


class Crowd:
    """Keep-alive clients, a thread each: connect, ask, read the whole answer, ask again. The last `uploads` of them
    send a body each time; its length is in the answer.

    `Connection: close` makes a client connect anew. Whatever else happens to a request or a connect is a failure, but
    for a refused connect once `may_be_refused`: that ends its client in peace.

    failures  a line each
    bodies    how often each body was answered
    """

    def __init__(self, server: Server, count: int, uploads: int = 0) -> None:
        self.failures: list[str] = []
        self.bodies: Counter[bytes] = Counter()
        self.may_be_refused = False
        self._server = server
        self._stopping = False
        self._lock = threading.Lock()
        self.uploaded = 0
        self._threads = [
            threading.Thread(target=self._live, args=(number >= count,), daemon=True)
            for number in range(count + uploads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def answered(self) -> int:
        with self._lock:
            return self.bodies.total()

    def more(self, count: int = 1000) -> None:
        """Wait for so many further answers, or for a failure."""
        goal = self.answered + count
        wait_for(lambda: self.failures or self.answered >= goal, f"{count} more answers")

    def finish(self) -> None:
        """Ask no more; wait for the answers that are due."""
        self._stopping = True
        self.join()

    def join(self) -> None:
        """Wait until every client has ended."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client waits for an answer"

    def _live(self, uploads: bool) -> None:
        while not self._stopping:
            try:
                sock = self._server.connect()
            except ConnectionRefusedError as error:
                if not self.may_be_refused:
                    self.failures.append(f"connect: {error!r}")
                return
            except OSError as error:
                self.failures.append(f"connect: {error!r}")
                return
            with sock:
                try:
                    self._talk(sock, uploads)
                except OSError as error:
                    self.failures.append(f"request: {error!r}")

    def _talk(self, sock: socket.socket, uploads: bool) -> None:
        while not self._stopping:
            answer = upload(sock) if uploads else exchange(sock)
            if answer.status != 200:
                self.failures.append(f"status {answer.status}")
            if uploads and not answer.body.endswith(f" {UPLOAD}".encode()):
                self.failures.append(f"uploaded {UPLOAD} bytes, answered {answer.body!r}")
            with self._lock:
                self.uploaded += uploads
                self.bodies[answer.body] += 1
            if answer.close:
                return


@contextmanager
def crowd(server: Server, count: int = 64, uploads: int = 0) -> Iterator[Crowd]:
    """A Crowd for the length of a block, at the end of which it has met no failure."""
    clients = Crowd(server, count, uploads)
    try:
        yield clients
    finally:
        clients.finish()
    assert not clients.failures, Counter(clients.failures)

"""A socket whose ends can be told apart: a close, a reset, and a clean end of TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeAlias

TIMEOUT = 30.0
"""Seconds after which a client gives up: a test hangs no longer."""

Address: TypeAlias = tuple[str, int]


class Lost(Exception):
    """An answer did not come whole. `after`: bytes of it that had come."""

    after = 0


class Cut(Lost):
    """The connection ended, but not cleanly: a reset, or TLS without its close_notify."""


class Ended(Lost):
    """The connection ended, cleanly, where more was due."""


class Wire:
    """A TCP connection.

    receive_buffer  bytes that the kernel holds for us at most (SO_RCVBUF); 0 for its own measure
    """

    def __init__(self, address: Address, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT)
        if receive_buffer:  # before connect: the window is agreed on there
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """All of it. Raises Cut."""
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Cut(str(error)) from None

    def receive(self, most: int = 65536) -> bytes:
        """What has come, b"" at a clean end. Raises Cut."""
        try:
            return self.socket.recv(most)
        except ConnectionResetError as error:
            raise Cut(str(error)) from None

    def half_close(self) -> None:
        """Say that we say no more."""
        self.socket.shutdown(socket.SHUT_WR)

    def widen(self) -> None:
        """After a small receive_buffer: let the rest come faster."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def reset(self) -> None:
        """Be gone without a word: the peer gets a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class UnixWire(Wire):
    """The same to a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))


class TlsWire(Wire):
    """The same over TLS. One thread may send while another receives. The handshake comes with the first of either."""

    def __init__(self, address: Address, context: ssl.SSLContext, *, receive_buffer: int = 0) -> None:
        super().__init__(address, receive_buffer=receive_buffer)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._lock = threading.Lock()  # for the engine
        self._order = threading.Lock()  # for what goes out
        self._shaking = threading.Lock()  # for the handshake
        self._ready = False

    def greet(self) -> None:
        """Shake hands."""
        if self._ready:
            return
        with self._shaking:
            while not self._ready:
                try:
                    self._engine.do_handshake()
                    self._flush()
                    self._ready = True  # only now: who sends from here on may wait long, and we would wait for it
                except ssl.SSLWantReadError:
                    self._flush()
                    self._feed()

    def hello(self) -> None:
        """Only the first flight of the handshake."""
        try:
            self._engine.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()

    def send(self, data: bytes) -> None:
        self.greet()
        view = memoryview(data)
        while view:
            with self._order:
                with self._lock:
                    self._engine.write(view[:65536])
                    sealed = self._outgoing.read()
                super().send(sealed)
            view = view[65536:]

    def receive(self, most: int = 65536) -> bytes:
        self.greet()
        while True:
            try:
                with self._lock:
                    return self._engine.read(most)
            except ssl.SSLWantReadError:
                self._feed()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError:
                raise Cut("TLS without close_notify") from None

    def half_close(self) -> None:
        """RFC 8446, 6.1: a close_notify ends one direction. The TCP connection stays as it is."""
        self.greet()
        with self._lock:
            unread = self._incoming.read()  # unwrap() would look for an answer there
            with suppress(ssl.SSLWantReadError):
                self._engine.unwrap()
            self._incoming.write(unread)
        self._flush()

    def _flush(self) -> None:
        with self._order:
            with self._lock:
                sealed = self._outgoing.read()
            if sealed:
                super().send(sealed)

    def _feed(self) -> None:
        data = super().receive()
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()


def wire(address: Address, tls: ssl.SSLContext | None, *, receive_buffer: int = 0) -> Wire:
    if tls is None:
        return Wire(address, receive_buffer=receive_buffer)
    return TlsWire(address, tls, receive_buffer=receive_buffer)

"""The socket of a client as a WSGI app may have it: `werkzeug.socket` and `gunicorn.socket` of an environ.

With it the thread of a call speaks with its client itself, as WebSocket libraries do that were written for werkzeug and
gunicorn (simple-websocket, and so flask-sock and Flask-SocketIO). It looks like a socket that blocks; beneath it is the
connection's codec, so TLS is not seen. The first send or receive detaches it: from then on the server does neither, and
the request gets no other response. Any number of threads may use it.
"""

from __future__ import annotations

import enum
import errno
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from allcomers.connection.base import HIGH_WATER
from allcomers.connection.codec import Clear
from allcomers.errors import PeerError
from allcomers.system import sockets
from allcomers.system.counters import BYTES_IN, BYTES_OUT, CounterRow
from allcomers.system.native.primitives import Primitives, close, epoll
from allcomers.system.processes import forks


class _End(enum.Enum):
    """The reason why nothing more is read."""

    CLIENT = enum.auto()
    CALL = enum.auto()


class AppSocket:
    """A client's socket, lent to the call of its request until that ends.

    primitives  its threads wait by these
    take   called at the first use: returns the codec, and what the client has sent already. Raises OSError once a
           response has begun
    taken  bool: the app speaks with its client itself
    """

    def __init__(
        self,
        sock: socket.socket,
        counters: CounterRow,
        primitives: Primitives,
        take: Callable[[], tuple[Clear, bytes]],
    ) -> None:
        self.taken = False
        self._sock = sock
        self._counters = counters
        self._take = take
        self._primitives = primitives
        self._lock = primitives.lock()  # for what follows
        self._codec = Clear()
        self._buffer = b""  # received, and not given to the app
        self._end: _End | None = None  # the client sends no more, or the call has ended
        self._closed = False  # the app has closed it
        self._timeout: float | None = None
        self._readable: _Readable | None = None

    def end(self) -> None:
        """End the loan, with the call: from here on the server has the socket again."""
        with self._lock:
            self._end = _End.CALL
            self._buffer = b""
            self._mark()

    # ------------------------------------------------------------ the methods of a socket

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive as socket.recv does. MSG_PEEK, which no TLS has, does not detach the socket."""
        if flags == socket.MSG_PEEK and not self.taken:
            return self._sock.recv(size, flags)
        if flags:
            raise ValueError("recv() has no flags here")
        self._begin()
        until = None if self._timeout is None else monotonic() + self._timeout
        while True:
            with self._lock:
                data = self._next(size)
            if data is not None:
                return data
            self._wait(select.POLLIN, until)

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        data = self.recv(size or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send as a socket that blocks: all of `data` has been sent when this returns.

        With a timeout of 0, what the kernel does not take at once is kept for the next send(), up to a limit.
        """
        self._begin()
        until = None if self._timeout is None else monotonic() + self._timeout
        with self._lock:
            self._check()
            if self._timeout == 0 and self._codec.unsent > HIGH_WATER:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._codec.push(bytes(data))
        while not self._flush():
            if self._timeout == 0:
                break
            self._wait(select.POLLOUT, until)
        return len(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.send(data, flags)

    def shutdown(self, how: int) -> None:
        self._begin()
        with self._lock:
            self._check()
            if how != socket.SHUT_WR:
                self._end = self._end or _End.CLIENT
            if how != socket.SHUT_RD:
                self._codec.end()
        self._flush()

    def close(self) -> None:
        """Send no more to the client than is queued."""
        with suppress(OSError):
            if self.taken and not self._closed:
                self.shutdown(socket.SHUT_WR)
        self._closed = True

    def fileno(self) -> int:
        """Return a descriptor that is readable when recv() would not block; -1 once it is closed.

        It is the socket's own, unless some of the client's data has been read of that already, as TLS does.
        """
        with self._lock:
            if self._closed:
                return -1
            if self._readable is None and (self._buffer or not self._codec.is_clear) and epoll is not None:
                self._readable = _Readable(self._sock)
                self._mark()
            return self._sock.fileno() if self._readable is None else self._readable.fileno()

    def pending(self) -> int:
        """Return the bytes that recv() would give at once, as ssl.SSLSocket does."""
        return len(self._buffer)

    def settimeout(self, timeout: float | None) -> None:
        if timeout is not None and timeout < 0:
            raise ValueError("a timeout is not negative")
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0

    def __getattr__(self, name: str) -> Any:
        if name in ("family", "type", "proto", "getpeername", "getsockname", "getsockopt", "setsockopt"):
            return getattr(self._sock, name)
        raise AttributeError(f"a client's socket has no {name!r} here")

    def __enter__(self) -> AppSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ beneath

    def _begin(self) -> None:
        """Detach the socket from the server at its first use. Raises OSError."""
        with self._lock:
            if not self.taken:
                self._check()
                self._codec, self._buffer = self._take()
                self.taken = True

    def _check(self) -> None:
        """Raise OSError where nothing can be sent any more. Called with the lock held."""
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._end is _End.CALL:
            raise BrokenPipeError(errno.EPIPE, "the call of this request has ended")

    def _next(self, size: int) -> bytes | None:
        """Return the result of recv(); None where it must wait. Called with the lock held."""
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if not self._buffer and self._end is None and not self._receive(size):
            return None
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        self._mark()
        return data

    def _receive(self, size: int) -> bool:
        """Read what there is. Return whether that was something for the app."""
        try:
            data = self._sock.recv(size if self._codec.is_clear else sockets.RECEIVE)
        except BlockingIOError:
            return False
        self._counters.add(BYTES_IN, len(data))
        try:
            plain = self._codec.received(data)
        except PeerError as error:
            self._end = _End.CLIENT
            raise ConnectionAbortedError(errno.ECONNABORTED, str(error)) from None
        if plain is None:
            self._send_now()
            return False
        self._buffer = plain
        if not plain or self._codec.ended:
            self._end = _End.CLIENT
        return True

    def _flush(self) -> bool:
        """Send what is queued, as far as the kernel takes it. Return whether that was all."""
        with self._lock:
            if self._end is _End.CALL:
                raise BrokenPipeError(errno.EPIPE, "the call of this request has ended")
            return self._send_now()

    def _send_now(self) -> bool:
        while self._codec.pending:
            try:
                count = sockets.send(self._sock, self._codec.output())
            except BlockingIOError:
                return False
            self._codec.sent(count)
            self._counters.add(BYTES_OUT, count)
        return True

    def _wait(self, event: int, until: float | None) -> None:
        """Wait for the client. Raises BlockingIOError and TimeoutError as a socket does."""
        if self._timeout == 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        poll = self._primitives.poll()
        with self._lock:
            fd = self._sock.fileno()
            if fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            poll.register(fd, event)
        try:
            if not poll.poll(None if until is None else max(0.0, until - monotonic()) * 1000):
                raise TimeoutError("timed out")
        finally:
            poll.unregister(fd)

    def _mark(self) -> None:
        if self._readable is not None:
            self._readable.mark(bool(self._buffer) or self._end is not None)


class _Readable:
    """A descriptor that is readable when a socket is, or for as long as it is marked so (epoll(7), eventfd(2))."""

    def __init__(self, sock: socket.socket) -> None:
        self._marked = False
        self._event = -1
        self._epoll = epoll(2)
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(sock, select.EPOLLIN)
        self._epoll.register(self._event, select.EPOLLIN)
        forks.keep(self)

    def filenos(self) -> tuple[int, int]:
        return self._epoll.fileno(), self._event

    def __del__(self) -> None:
        if self._event >= 0:  # an epoll object closes itself
            close(self._event)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def mark(self, marked: bool) -> None:
        if marked != self._marked:
            self._marked = marked
            if marked:
                os.eventfd_write(self._event, 1)
            else:
                os.eventfd_read(self._event)

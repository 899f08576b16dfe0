"""HTTP clients in plain Python for figures that wrk does not give: clients cut off, when, and requests lost, how.

They know just enough HTTP for the responses of apps.py: a status, a Content-Length, `Connection: close`.
"""

import errno
import heapq
import re
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.support.harness import Address

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"

UPLOAD = 1_000_000
"""Bytes of an upload."""

PIECE, PACE = 16_384, 0.002
"""Bytes of it that are sent at a time, and the seconds between two times: it takes 0.12 s."""

UPLOAD_HEAD = b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % UPLOAD
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.I)
CLOSE = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.I)


class Answer(NamedTuple):
    status: int
    body: bytes
    close: bool
    size: int  # of the complete response on the wire


def parse(data: bytes | bytearray) -> Answer | None:
    """Return the first response in `data`, or None while it is incomplete."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    head = bytes(data[:end])
    length = LENGTH.search(head)
    if not head.startswith(b"HTTP/1.") or length is None:
        raise ValueError(f"not an answer that these clients can read: {head!r}")
    size = end + int(length[1])
    if len(data) < size:
        return None
    return Answer(int(head[9:12]), bytes(data[end:size]), bool(CLOSE.search(head)), size)


def connect(address: Address, timeout: float = 5) -> socket.socket:
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def receive(sock: socket.socket) -> Answer:
    """Receive one complete response from a blocking socket."""
    data = b""
    while (answer := parse(data)) is None:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError(f"closed after {len(data)} bytes of an answer")
        data += piece
    return answer


def response_times(address: Address, seconds: float) -> list[float]:
    """A normal client: one keep-alive connection, request after request. Each response's time in ms."""
    times = []
    end = time.perf_counter() + seconds
    with connect(address) as sock:
        started = time.perf_counter()
        while started < end:
            sock.sendall(REQUEST)
            answer = receive(sock)
            now = time.perf_counter()
            if answer.status != 200 or answer.close:
                raise ConnectionError(f"a normal client was answered {answer}")
            times.append((now - started) * 1000)
            started = now
    return times


@dataclass(slots=True, eq=False)
class Peer:
    """One client of a crowd. `waiting` from when its request is sent to when the response is complete.

    uploads  whether it sends a body each time; `left` is then how much of that is unsent
    """

    sock: socket.socket
    uploads: bool = False
    left: int = 0
    connected: bool = False
    waiting: bool = False
    since: float = 0.0
    data: bytearray = field(default_factory=bytearray)
    served_by: bytes = b""  # the body of its last response: who.Who names the process


class Failure(NamedTuple):
    at: float  # perf_counter
    kind: str
    served_by: bytes


class Crowd:
    """Keep-alive clients in one epoll loop: each sends a request, reads the response, rests, repeats.

    A client reconnects after `Connection: close`, and when its idle connection is closed. Whatever happens
    to a request that was sent, other than a complete 200 response, is a failure; the client then starts anew.
    A refused connection is a failure too, until `may_be_refused`: then it ends that client normally.

    `uploads` more send a body with each request, slowly; the last word of the response is the number of bytes received.
    """

    def __init__(self, address: Address, count: int, rest: float = 0.0, uploads: int = 0) -> None:
        self.address, self.rest = address, rest
        self.sent = self.answered = self.uploaded = self.reconnected = self.refused = 0
        self.failures: list[Failure] = []
        self.times: list[float] = []
        self.may_be_refused = self.stopping = False
        self.epoll = select.epoll()
        self.peers: dict[int, Peer] = {}
        self.resting: list[tuple[float, int, Peer]] = []
        for number in range(count + uploads):
            self.open(uploads=number >= count)

    def kinds(self) -> Counter[str]:
        return Counter(failure.kind for failure in self.failures)

    def waiting(self) -> int:
        return sum(peer.waiting for peer in self.peers.values())

    def run(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while self.peers and (left := end - time.perf_counter()) > 0:
            self.step(left)

    def finish(self, grace: float = 10.0) -> int:
        """Send no new request; report those without a response `grace` seconds later, and close everything."""
        self.stopping = True
        end = time.perf_counter() + grace
        while self.waiting() and (left := end - time.perf_counter()) > 0:
            self.step(left)
        unanswered = self.waiting()
        for peer in self.peers.values():
            peer.sock.close()
        self.epoll.close()
        return unanswered

    def step(self, timeout: float) -> None:
        if self.resting:
            timeout = min(timeout, max(0.0, self.resting[0][0] - time.perf_counter()))
        for fd, _ in self.epoll.poll(timeout):
            if (peer := self.peers.get(fd)) is not None:
                self.ready(peer)
        now = time.perf_counter()
        while self.resting and self.resting[0][0] <= now:
            peer = heapq.heappop(self.resting)[2]
            if self.peers.get(peer.sock.fileno()) is peer:
                (self.send_piece if peer.left else self.send)(peer)

    def open(self, served_by: bytes = b"", uploads: bool = False) -> None:
        if self.stopping:
            return
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock, uploads, served_by=served_by)
        error = sock.connect_ex(self.address)
        if error not in (0, errno.EINPROGRESS):
            self.not_connected(peer, error)
            return
        self.peers[sock.fileno()] = peer
        self.epoll.register(sock, select.EPOLLOUT)

    def not_connected(self, peer: Peer, error: int) -> None:
        self.drop(peer)
        if error == errno.ECONNREFUSED and self.may_be_refused:
            self.refused += 1
            return
        self.fail(peer, f"connect: {errno.errorcode.get(error, error)}")
        if error != errno.ECONNREFUSED:
            self.open(uploads=peer.uploads)

    def drop(self, peer: Peer) -> None:
        self.peers.pop(peer.sock.fileno(), None)
        peer.sock.close()

    def fail(self, peer: Peer, kind: str) -> None:
        self.failures.append(Failure(time.perf_counter(), kind, peer.served_by))

    def ready(self, peer: Peer) -> None:
        if peer.connected:
            self.read(peer)
            return
        error = peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.not_connected(peer, error)
            return
        peer.connected = True
        self.epoll.modify(peer.sock, select.EPOLLIN)
        self.send(peer)

    def send(self, peer: Peer) -> None:
        if self.stopping:
            return
        self.sent += 1
        try:
            peer.sock.send(UPLOAD_HEAD if peer.uploads else REQUEST)
        except OSError as error:
            self.lost(peer, f"send: {errno.errorcode.get(error.errno or 0, error)}")
            return
        peer.waiting, peer.since = True, time.perf_counter()
        if peer.uploads:
            peer.left = UPLOAD
            self.send_piece(peer)

    def send_piece(self, peer: Peer) -> None:
        try:
            peer.left -= peer.sock.send(bytes(min(PIECE, peer.left)))
        except BlockingIOError:
            pass
        except OSError as error:
            self.lost(peer, f"upload: {errno.errorcode.get(error.errno or 0, error)}")
            return
        if peer.left:
            heapq.heappush(self.resting, (time.perf_counter() + PACE, id(peer), peer))

    def read(self, peer: Peer) -> None:
        try:
            piece = peer.sock.recv(65536)
        except OSError as error:
            self.lost(peer, f"recv: {errno.errorcode.get(error.errno or 0, error)}")
            return
        if not piece:
            self.lost(peer, "end of file")
            return
        peer.data += piece
        if answer := parse(peer.data):
            self.got(peer, answer)

    def lost(self, peer: Peer, how: str) -> None:
        """Handle a closed connection: a failure only if a request was sent on it, or could not be."""
        if peer.waiting or how.startswith("send"):
            self.fail(peer, f"{how} in an answer" if peer.data else how)
        else:
            self.reconnected += 1
        self.drop(peer)
        self.open(peer.served_by, peer.uploads)

    def got(self, peer: Peer, answer: Answer) -> None:
        now = time.perf_counter()
        del peer.data[: answer.size]
        peer.waiting, peer.served_by = False, answer.body
        if peer.uploads and (peer.left or not answer.body.endswith(b" %d" % UPLOAD)):
            self.fail(peer, "upload not received in full")
        elif answer.status == 200:
            self.answered += 1
            self.uploaded += peer.uploads
            if not peer.uploads:
                self.times.append((now - peer.since) * 1000)
        else:
            self.fail(peer, f"status {answer.status}")
        if answer.close:
            self.reconnected += 1
            self.drop(peer)
            self.open(peer.served_by, peer.uploads)
        elif self.rest:
            heapq.heappush(self.resting, (now + self.rest, id(peer), peer))
        else:
            self.send(peer)

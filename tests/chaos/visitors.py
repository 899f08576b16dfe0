"""Clients under chaos: each draws what it does, and checks whatever answer comes whole."""

from __future__ import annotations

import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from bench.endurance.soak import UnexpectedAnswerError, WebSocket

from chaos.apps import expected
from support.clients import Answer, Client, chunked, request
from support.wires import Address, Lost, Wire, wire

PATIENCE = 10.0
"""Seconds that a client waits for something to come."""

EXCUSES = {408, 413, 503}
"""Statuses that chaos excuses: the client was slow itself, the disk or the descriptors were all in use."""


LEAVES = r"\x03\xf4"
"""The code 1012 as an error names it: the worker leaves, and closes its WebSockets."""


class Accounts:
    """What all visitors of a round have asked and got.

    asked     marks of the requests that were sent, or begun
    answered  {mark: status} of the answers that came whole
    wrong     answers that were not right, in words
    """

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.answered: dict[str, int] = {}
        self.wrong: list[str] = []
        self.done: Counter[str] = Counter()
        self.lost = 0


class Visitor:
    """One client, by its own seed.

    excuses_500  whether an answer 500 is right: memory is short meanwhile
    """

    def __init__(
        self, name: str, address: Address, tls: ssl.SSLContext | None, sockets: bool, accounts: Accounts, seed: str
    ) -> None:
        self.name = name
        self.excuses_500 = False
        self._address, self._tls = address, tls
        self._accounts = accounts
        self._draw = random.Random(seed)
        self._count = 0
        self._actions: list[Callable[[], None]] = [
            *[self.get] * 4, *[self.stay] * 3, *[self.post] * 3, *[self.chunks] * 2, *[self.pipeline] * 3,
            *[self.half_close] * 2, *[self.reset] * 4, *[self.leave] * 2, self.slow_reader, self.slow_head, self.fail,
            self.garbage, self.malformed, self.connect_alone, *[self.talk] * 3 * sockets,
        ]  # fmt: skip
        if tls is not None:
            self._actions += [self.plain_to_tls, self.hello_alone]

    def run(self, until: float) -> None:
        """Act until then."""
        while time.monotonic() < until:
            self.act(self._draw.choice(self._actions))

    def every(self) -> None:
        """Act in each way once: what a server makes when it is first needed is made then."""
        for action in dict.fromkeys(self._actions):
            self.act(action)

    def act(self, action: Callable[[], None]) -> None:
        try:
            action()
            self._accounts.done[action.__name__] += 1
        except (Lost, OSError):
            self._accounts.lost += 1
        except (AssertionError, UnexpectedAnswerError, ValueError) as error:
            self._accounts.wrong.append(f"{self.name}, {action.__name__}: {error!r}"[:500])

    # ------------------------------------------------------------ requests

    def short_of_memory(self) -> None:
        self._ask("/nomemory")

    def get(self) -> None:
        self._ask(self._draw.choice(["/echo", "/echo", "/slow", "/pieces", "/file", "/written", "/big"]))

    def stay(self) -> None:
        """Ask several times on one connection."""
        with self._client() as client:
            for _ in range(self._draw.randrange(2, 6)):
                mark = self._mark()
                client.send(request("GET", f"/echo?{mark}"))
                if not self._checked(client.answer(), "/echo", mark).persists:
                    return

    def post(self) -> None:
        size = self._draw.choice([0, 10, 3000, 70_000, 600_000, 1_500_000])
        body = self._draw.randbytes(size)
        mark = self._mark()
        with self._client() as client:
            client.send(request("POST", f"/echo?{mark}", body=body))
            self._checked(client.answer(), "/echo", mark, body)

    def chunks(self) -> None:
        body = self._draw.randbytes(self._draw.choice([1, 5000, 200_000]))
        mark = self._mark()
        head = request("POST", f"/echo?{mark}", "Transfer-Encoding: chunked")
        with self._client() as client:
            client.send(head + chunked(body, self._draw.choice([7000, 20_000]), "X-End: yes"))
            self._checked(client.answer(), "/echo", mark, body)

    def pipeline(self) -> None:
        paths = self._draw.choices(["/echo", "/pieces"], [2, 1], k=self._draw.randrange(2, 7))
        asked = [(path, self._mark()) for path in paths]
        with self._client() as client:
            client.send(b"".join(request("GET", f"{path}?{mark}") for path, mark in asked))
            for path, mark in asked:
                if not self._checked(client.answer(), path, mark).persists:
                    return

    def half_close(self) -> None:
        mark = self._mark()
        body = self._draw.randbytes(self._draw.choice([0, 100_000]))
        with self._client() as client:
            client.send(request("POST", f"/echo?{mark}", body=body))
            client.wire.half_close()
            self._checked(client.answer(), "/echo", mark, body)
            client.ends()

    def fail(self) -> None:
        mark = self._mark()
        with self._client() as client:
            client.send(request("GET", f"/fail?{mark}"))
            answer = client.answer()
        if answer.status not in (500, *EXCUSES):
            raise UnexpectedAnswerError(f"/fail?{mark}: {answer.status}")
        self._accounts.answered[mark] = answer.status

    def talk(self) -> None:
        """Talk on a WebSocket; close it, or reset it."""
        sock = socket.create_connection(self._address, PATIENCE)
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname="localhost")
            link = WebSocket(sock)
            for _ in range(self._draw.randrange(1, 6)):
                message = self._mark().encode() * self._draw.choice([1, 20, 500])
                if (echo := link.echo(message)) != message:
                    raise UnexpectedAnswerError(f"{message[:40]!r} came back as {echo[:40]!r}")
            if self._draw.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.close()
        except UnexpectedAnswerError as error:
            if "no WebSocket" not in str(error) and LEAVES not in str(error):
                raise
        finally:
            sock.close()

    # ------------------------------------------------------------ requests that are given up

    def reset(self) -> None:
        """Send a part of a request, or all of it; be gone at once."""
        data = request("POST", f"/big?{self._mark()}", body=bytes(self._draw.choice([10, 100_000, 700_000])))
        link = self._wire()
        try:
            size = self._draw.choice([0, 1, 40, 150, 5000, len(data)])
            link.send(data[:size])
            if size == len(data) and self._draw.random() < 0.5:
                link.receive(self._draw.choice([1, 1000]))
        finally:
            link.reset()

    def leave(self) -> None:
        """Read a part of an answer, and close."""
        with self._wire() as link:
            link.send(request("GET", f"{self._draw.choice(['/pieces', '/big', '/written'])}?{self._mark()}"))
            link.receive(self._draw.choice([1, 5000, 60_000]))

    def slow_reader(self) -> None:
        mark = self._mark()
        with self._client(receive_buffer=4096) as client:
            client.send(request("GET", f"/big?{mark}"))
            came = b""
            for _ in range(self._draw.randrange(5, 20)):
                came += client.wire.receive(2000)
                time.sleep(0.02)
            client.unread(came)
            client.wire.widen()
            self._checked(client.answer(), "/big", mark)

    def slow_head(self) -> None:
        mark = self._mark()
        data = request("GET", f"/echo?{mark}")
        with self._client() as client:
            for at in range(0, len(data), 8):
                client.send(data[at : at + 8])
                time.sleep(0.02)
            self._checked(client.answer(), "/echo", mark)

    def garbage(self) -> None:
        with self._wire() as link:
            link.send(self._draw.randbytes(self._draw.randrange(1, 3000)))
            link.half_close()
            while link.receive():
                pass

    def malformed(self) -> None:
        heads = [b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5x\r\n\r\n"]
        chunk = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        with self._client() as client:
            client.send(self._draw.choice([*heads, chunk]))
            if (answer := client.answer()).status not in (400, *EXCUSES):
                raise UnexpectedAnswerError(f"a malformed request: {answer.status}")

    def connect_alone(self) -> None:
        with socket.create_connection(self._address, PATIENCE):
            time.sleep(self._draw.choice([0, 0.1]))

    def plain_to_tls(self) -> None:
        with Wire(self._address) as link:
            link.send(request())
            while link.receive():
                pass

    def hello_alone(self) -> None:
        link = self._wire()
        with suppress(AttributeError):
            link.hello()  # type: ignore[attr-defined]
        link.reset()

    # ------------------------------------------------------------ what they share

    def _mark(self) -> str:
        self._count += 1
        mark = f"{self.name}-{self._count}"
        self._accounts.asked.add(mark)
        return mark

    def _wire(self, receive_buffer: int = 0) -> Wire:
        link = wire(self._address, self._tls, receive_buffer=receive_buffer)
        link.socket.settimeout(PATIENCE)
        return link

    def _client(self, receive_buffer: int = 0) -> Client:
        return Client(self._wire(receive_buffer))

    def _ask(self, path: str) -> None:
        mark = self._mark()
        with self._client() as client:
            client.send(request("GET", f"{path}?{mark}"))
            self._checked(client.answer(), path, mark)

    def _checked(self, answer: Answer, path: str, mark: str, body: bytes = b"") -> Answer:
        """Return a whole answer that is right, or excused."""
        if answer.status == 200:
            if answer.body != (right := expected(path, mark.encode(), body)):
                raise UnexpectedAnswerError(f"{path}?{mark}: {answer.body[:80]!r}, not {right[:80]!r}")
        elif answer.status not in EXCUSES and not (answer.status == 500 and self.excuses_500):
            raise UnexpectedAnswerError(f"{path}?{mark}: {answer.status} {answer.body[:80]!r}")
        self._accounts.answered[mark] = answer.status
        return answer


def all_at_once(visitors: list[Visitor], act: Callable[[Visitor], None]) -> None:
    """Run `act` of each visitor in a thread of its own; return when all have ended."""
    threads = [threading.Thread(target=act, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

"""Hours of mixed load: whether memory, descriptors and threads stay as they are once the server is warm.

Three servers at once, each on its own model: a WSGI app (epoll, --calls auto), an ASGI app behind TLS (asyncio), and a
site of files (thread). Their clients send small requests, uploads of 1 MB and of 3 KB, ask for answers in pieces and
for files, talk on WebSockets, have the app fail, and reset connections in the middle of a request. Each answer is
checked: it holds what its asker alone has sent.

Every so often all clients rest with their connections open, and the figures of each server's processes are taken:
anonymous memory (Pss_Anon), descriptors, threads. The first fifth of the time is the warm-up. Then the mean of the
first quarter is compared with that of the last: a figure is flat if they differ by 2 % at most.
"""

import argparse
import hashlib
import http.client
import random
import socket
import ssl
import statistics
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from bench.comparison import peers
from bench.support import harness, processes
from bench.support.harness import ROOT, Address, Server

FLAT = 0.02
WARM = 0.2
"""Share of the time in which nothing is compared."""

FIGURES = ("memory", "descriptors", "threads")
SITE = ROOT / "examples/site"
FILES = ("index.html", "models.html")
UPLOAD = random.Random(1).randbytes(1_000_000)
PER_SERVER = 4
"""Clients of each server."""

HURRY = 30.0
"""Seconds at the start in which no client rests: what an allocator takes for the most at once, it takes then."""

IDLE_MOST = 15.0
"""Seconds after which a WebSocket is not used again."""


class UnexpectedAnswerError(Exception):
    """An answer that is not its asker's."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=60.0, help="actions a second, of all clients")
    parser.add_argument("--samples", type=int, default=120)


def run(args: argparse.Namespace) -> None:
    seconds = args.hours * 3600
    harness.pin(harness.LOAD_CORE)
    peers.prepare()
    with ExitStack() as stack:
        servers = {name: stack.enter_context(harness.serving(launch)) for name, launch in launches().items()}
        clients = [Client(name, server, number) for name, server in servers.items() for number in range(PER_SERVER)]
        crowd = Crowd(clients, len(clients) / args.rate)
        samples = soak(servers, crowd, seconds, args.samples)
        report(servers, crowd, samples, seconds)


def launches() -> dict[str, harness.Launch]:
    apps, tls = "bench/endurance/soak_apps.py", ("--certfile", str(peers.CERTIFICATE))
    return {
        "wsgi": harness.allcomers("run", f"{apps}:wsgi", "-m", "epoll", "--calls", "auto"),
        "asgi": harness.allcomers("run", f"{apps}:asgi", "-m", "asyncio", *tls),
        "site": harness.allcomers("serve", str(SITE), "-m", "thread"),
    }


# Samples -------------------------------------------------------------------------------------------------


def soak(servers: dict[str, Server], crowd: "Crowd", seconds: float, count: int) -> list[dict[str, Any]]:
    """Run the load for `seconds`; return the samples that were taken meanwhile."""
    start = time.monotonic()
    samples: list[dict[str, Any]] = []
    crowd.start()
    try:
        while (now := time.monotonic()) < start + seconds and not crowd.faults:
            time.sleep(min(seconds / count, start + seconds - now))
            with crowd.resting():
                sample: dict[str, Any] = {name: figures(server.pid) for name, server in servers.items()}
            samples.append({"after": round(time.monotonic() - start, 1), "done": crowd.done.total(), **sample})
            kept = "; ".join(f"{n} {sample[n]['memory']} KiB, {sample[n]['descriptors']} fds" for n in servers)
            print(f"  {samples[-1]['after']:6.0f} s, {crowd.done.total():,} actions: {kept}", flush=True)
    finally:
        crowd.stop()
    return samples


def figures(pid: int) -> dict[str, int]:
    members = processes.tree(pid)
    return {
        "memory": processes.anonymous_kib(pid),
        "descriptors": sum(entries(f"/proc/{member}/fd") for member in members),
        "threads": sum(entries(f"/proc/{member}/task") for member in members),
        "processes": len(members),
    }


def entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def report(servers: dict[str, Server], crowd: "Crowd", samples: list[dict[str, Any]], seconds: float) -> None:
    warm = [sample for sample in samples if sample["after"] >= seconds * WARM]
    rows, is_flat = [], True
    for name in servers:
        for figure in FIGURES:
            row = drift([sample[name][figure] for sample in warm])
            is_flat = is_flat and abs(row[-1]) <= FLAT
            rows.append([f"{name}, {figure}{' KiB' * (figure == 'memory')}", *(f"{v:,.1f}" for v in row[:-1])])
            rows[-1].append(f"{row[-1]:+.2%}")
    print(f"\n{seconds / 3600:g} hours, {crowd.done.total():,} actions: {dict(sorted(crowd.done.items()))}\n")
    harness.table(["server, figure", "first quarter", "last quarter", "lowest", "highest", "drift"], rows)
    harness.save("soak", {"samples": samples, "done": crowd.done, "faults": crowd.faults})
    if crowd.faults:
        raise harness.CannotMeasureError(f"not every answer was right: {crowd.faults[:3]}")
    print("flat: no figure moved by more than 2 %" if is_flat else "NOT FLAT")
    if not is_flat:
        raise harness.CannotMeasureError("a figure moved by more than 2 %")


def drift(values: list[int]) -> tuple[float, float, float, float, float]:
    """Return the mean of the first quarter and of the last, the extremes, and the relative change of the means."""
    quarter = max(1, len(values) // 4)
    first, last = statistics.fmean(values[:quarter]), statistics.fmean(values[-quarter:])
    return first, last, min(values), max(values), (last - first) / first


# Clients -------------------------------------------------------------------------------------------------


class Crowd:
    """All clients, each in a thread of its own, which rest when they are told to.

    done    counts of actions by name
    faults  answers that were wrong, and what else went wrong: the soak ends with the first
    """

    def __init__(self, clients: list["Client"], gap: float) -> None:
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._clients, self._gap = clients, gap
        self._may_run, self._stopping = threading.Event(), False
        self._hurries_until = 0.0
        self._rest = threading.Barrier(len(clients) + 1)
        self._threads = [threading.Thread(target=self._drive, args=(client,)) for client in clients]

    def start(self) -> None:
        self._hurries_until = time.monotonic() + HURRY
        self._may_run.set()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._may_run.set()
        self._rest.abort()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()

    def resting(self) -> "Resting":
        """Return a context in which no client sends, and each has its connections open."""
        return Resting(self._may_run, self._rest)

    def _drive(self, client: "Client") -> None:
        with suppress(threading.BrokenBarrierError):
            while not self._stopping:
                if not self._may_run.is_set():
                    self._act(client, client.get)
                    self._rest.wait()
                    self._may_run.wait()
                self._act(client, client.choose())
                if time.monotonic() > self._hurries_until:
                    time.sleep(client.draw.expovariate(1 / self._gap))

    def _act(self, client: "Client", action: Callable[[], None]) -> None:
        try:
            action()
            self.done[action.__name__] += 1
        except Exception as error:  # of any kind: the end of a client would be the end of all rests
            self.faults.append(f"{client.name}, {action.__name__}: {error!r}")


class Resting:
    def __init__(self, may_run: threading.Event, rest: threading.Barrier) -> None:
        self._may_run, self._rest = may_run, rest

    def __enter__(self) -> None:
        self._may_run.clear()
        with suppress(threading.BrokenBarrierError):
            self._rest.wait(60)
        time.sleep(0.5)  # what the server does behind its answers

    def __exit__(self, *_: object) -> None:
        self._may_run.set()


class Client:
    """A client of one server: a connection that stays, a WebSocket, and connections that it gives up."""

    def __init__(self, name: str, server: Server, number: int) -> None:
        self.name = name
        self.draw = random.Random(f"{name} {number}")
        self._address: Address = server.address
        self._tls = ssl._create_unverified_context() if name == "asgi" else None
        self._number = number
        self._asked = 0
        self._socket: WebSocket | None = None
        kept = {"host": self._address[0], "port": self._address[1], "timeout": 60}
        self._http: http.client.HTTPConnection = (
            http.client.HTTPSConnection(**kept, context=self._tls) if self._tls else http.client.HTTPConnection(**kept)
        )

    def choose(self) -> Callable[[], None]:
        """Draw the next action."""
        if self.name == "site":
            return self.draw.choice([self.get, self.get, self.get, self.reset])
        # Few failures: with ten in ten seconds, a thread of the server's log would come and go.
        actions = [self.get] * 16 + [self.pieces] * 6 + [self.form] * 8 + [self.upload, self.reset] * 2 + [self.fail]
        return self.draw.choice(actions + [self.message] * 16 * (self.name == "asgi"))

    def close(self) -> None:
        self._http.close()
        if self._socket is not None:
            self._socket.close()

    def get(self) -> None:
        if self.name == "site":
            name = self.draw.choice(FILES)
            self._expect(f"/{name}", (SITE / name).read_bytes())
        else:
            self._digest(b"")

    def form(self) -> None:
        self._digest(self.draw.randbytes(3000))

    def upload(self) -> None:
        self._digest(UPLOAD)

    def pieces(self) -> None:
        mark = self._mark()
        self._expect(f"/pieces?{mark}", (mark.encode() + b"." * 1000) * 16)

    def fail(self) -> None:
        status, _ = self._ask("/fail", b"")
        if status != 500:
            raise UnexpectedAnswerError(f"{status}, not 500")

    def message(self) -> None:
        text = self._mark().encode() * self.draw.choice([1, 10])
        if self._socket is not None and self._socket.idle_for > IDLE_MOST:
            self._socket.close()  # this client reads only when it writes: the server's ping may be unanswered
            self._socket = None
        self._socket = self._socket or WebSocket(self._connect())
        if (echo := self._socket.echo(text)) != text:
            raise UnexpectedAnswerError(f"{text!r} came back as {echo!r}")

    def reset(self) -> None:
        """End a connection with a reset, at some point of a request."""
        request = b"POST / HTTP/1.1\r\nHost: soak\r\nContent-Length: 600000\r\n\r\n" + bytes(600_000)
        with self._connect() as sock:
            sock.settimeout(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):  # a refusal
                sock.sendall(request[: self.draw.choice([0, 30, 70, 40_000, 599_000])])

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._address, 60)
        return self._tls.wrap_socket(sock) if self._tls else sock

    def _mark(self) -> str:
        self._asked += 1
        return f"{self.name}-{self._number}-{self._asked}"

    def _digest(self, body: bytes) -> None:
        mark = self._mark()
        self._expect(f"/?{mark}", hashlib.sha256(mark.encode() + body).hexdigest().encode(), body)

    def _expect(self, target: str, expected: bytes, body: bytes = b"") -> None:
        status, got = self._ask(target, body)
        if (status, got) != (200, expected):
            raise UnexpectedAnswerError(f"{target}: {status} {got[:80]!r}, not {expected[:80]!r}")

    def _ask(self, target: str, body: bytes) -> tuple[int, bytes]:
        """Send a request; send it again if the server had closed the idle connection."""
        for is_last in (False, True):
            try:
                self._http.request("POST" if body else "GET", target, body or None)
                response = self._http.getresponse()
                return response.status, response.read()
            except (ConnectionError, http.client.RemoteDisconnected):
                self._http.close()
                if is_last:
                    raise
        raise AssertionError


class WebSocket:
    """A client's side of a WebSocket, which sends binary messages of less than 64 KiB (RFC 6455)."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._file, self._used = sock, sock.makefile("rwb"), time.monotonic()
        self._file.write(
            b"GET /ws HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        self._file.flush()
        if not self._file.readline().startswith(b"HTTP/1.1 101"):
            raise UnexpectedAnswerError("no WebSocket")
        while self._file.readline() != b"\r\n":
            pass

    @property
    def idle_for(self) -> float:
        return time.monotonic() - self._used

    def close(self) -> None:
        with suppress(OSError):  # the server has gone first
            self._file.close()
        self._sock.close()

    def echo(self, message: bytes) -> bytes:
        self._used = time.monotonic()
        self._frame(2, message)
        while True:
            first, size = self._read(2)
            size = struct.unpack("!H", self._read(2))[0] if size == 126 else size
            payload = self._read(size)
            if first & 15 == 2:
                return payload
            if first & 15 == 9:
                self._frame(10, payload)
            else:
                raise UnexpectedAnswerError(f"a frame {first:#x} {payload!r}")

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise ConnectionError("the WebSocket has ended")
        return data

    def _frame(self, opcode: int, payload: bytes) -> None:
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
        self._file.write(bytes([0x80 | opcode]) + size + bytes(4) + payload)  # the mask is 0
        self._file.flush()

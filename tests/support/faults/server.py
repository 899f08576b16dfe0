"""A server whose calls fail when a test says so, and peers that see how they fare meanwhile.

As SQLite does with its own calls (https://sqlite.org/testing.html#i_o_error_testing). sitecustomize.py and faults.c
make the calls fail.
"""

from __future__ import annotations

import atexit
import mmap
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from support.faults.sitecustomize import KINDS, LAYOUT
from support.harness import PATIENCE, ROOT, Server, receive_all, serving, wait_for
from support.staged import comes_to_rest, open_files

LARGE = b"0123456789abcdef" * 65536
SMALL = b"small\n"
BODY = b"x" * 600_000
"""More than is held in memory: it goes to a temporary file."""


class Faults:
    """What the server's processes look at before each call."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(LAYOUT.pack(0, 0, 0, 0, 0))
        self.environment = {
            "FAULTS": str(path),
            "PYTHONPATH": f"{ROOT / 'tests/support/faults'}:{ROOT / 'tests'}",
            "LD_PRELOAD": _preloaded(),
        }
        with path.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), LAYOUT.size)

    def arm(self, kind: str, number: int, error: int, worker: int = 0) -> None:
        """Let the `number`-th call of `kind` from now on fail with `error`, in this worker or a child of it."""
        self._control[:] = LAYOUT.pack(KINDS.index(kind), number, error, 0, worker)

    @property
    def fired(self) -> int:
        fired: int = LAYOUT.unpack(self._control)[3]
        return fired

    def disarm(self) -> None:
        self._control[:] = LAYOUT.pack(0, 0, 0, 0, 0)


@cache
def _preloaded() -> str:
    """Return the path of faults.so, which is made once and goes when this process does."""
    folder = tempfile.mkdtemp(prefix="allcomers-faults-")
    atexit.register(shutil.rmtree, folder)
    source, library = ROOT / "tests/support/faults/faults.c", f"{folder}/faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"], check=True)
    return library


class Faulty:
    """A server whose calls fail when told to."""

    def __init__(self, server: Server, faults: Faults) -> None:
        self.server = server
        self.faults = faults
        self.workers = server.workers()
        self.worker = self.workers[0]
        self.descriptors = 0

    def open_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.worker}/fd").iterdir()))

    def has_spool(self) -> bool:
        """Has the worker, or a child of it, a temporary file? It has no name (O_TMPFILE): "/tmp/#1234 (deleted)"."""
        names = []
        for pid in [str(self.worker), *self.children().split()]:
            with suppress(FileNotFoundError):  # one that has ended
                names += open_files(int(pid))
        return any("#" in name and name.endswith("(deleted)") for name in names)

    def children(self) -> str:
        return Path(f"/proc/{self.worker}/task/{self.worker}/children").read_text()

    def assert_at_rest(self) -> None:
        comes_to_rest(self.worker)

    def settle(self) -> None:
        """All that was open for peers is closed again."""
        wait_for(lambda: self.open_descriptors() <= self.descriptors, "descriptors to be closed")
        wait_for(lambda: not self.children(), "children to be reaped")

    def run(self, scenario: Callable[[Server], list[str]]) -> list[str]:
        """How each peer of the scenario fared; the worker is the same afterwards, and has closed all it opened."""
        outcomes = scenario(self.server)
        assert self.server.workers() == self.workers, f"the worker has died: {self.server.stderr}"
        self.settle()
        return outcomes

    def fail_each(
        self, scenario: Callable[[Server], list[str]], kind: str, error: int, most: int, *, step: int = 1
    ) -> Iterator[list[str]]:
        """Run the scenario with its first call of `kind` failing, then with its second ...: until there is none more.

        At most `most` times, for what is the same again and again; and each `step`-th, where there are very many.
        """
        for number in range(1, most * step + 1, step):
            self.faults.arm(kind, number, error, self.worker)
            outcomes = self.run(scenario)
            fired = self.faults.fired
            self.faults.disarm()
            if not fired:
                assert set(outcomes) == {"good"}
                return
            yield outcomes


@contextmanager
def faulty(
    tmp_path: Path,
    model: str,
    *arguments: str,
    target: str = "app",
    quiet: bool = True,
    env: dict[str, str] | None = None,
) -> Iterator[Faulty]:
    """Start a server that is at rest, and has all descriptors that it has when no peer is there.

    quiet  it is to log no traceback
    """
    files = tmp_path / "files"
    files.mkdir(exist_ok=True)
    (files / "large").write_bytes(LARGE)
    (files / "small").write_bytes(SMALL)
    faults = Faults(tmp_path / "faults")
    environment = {**faults.environment, "FAULTY_FILES": str(files), **(env or {})}
    command = ("run", f"tests/support/apps/faulty.py:{target}", "--model", model, *arguments)
    with serving(*command, env=environment, quiet=quiet) as server:
        place = Faulty(server, faults)
        # What all that follows is compared with: the model has begun, modules are loaded, pools are there.
        if target == "app":
            assert set(conversation(server)) == {"good"}
        wait_for(lambda: not place.children() and _is_steady(place), "the worker to come to rest")
        place.descriptors = place.open_descriptors()
        yield place
        if server.process.poll() is None:
            place.assert_at_rest()


def _is_steady(place: Faulty) -> bool:
    """Has it as many descriptors after a peer as before? The kernel tells when it has closed that peer's."""
    before = place.open_descriptors()
    with place.server.connect() as sock:
        sock.sendall(request(b"/", CLOSE))
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock)
    time.sleep(0.02)  # a thread may need a moment more
    return place.open_descriptors() == before


# ---------------------------------------------------------------- the scenario


def request(target: bytes, *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (method, target, lines, body)


CLOSE = b"Connection: close"
CHUNKS = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:100_000], BODY[100_000:])) + b"0\r\n\r\n"


def peer(server: Server, said: bytes, expected: list[tuple[int, bytes]]) -> str:
    """One peer says its words and listens: "good" if it hears all that it should, else "cut", or the status of a 5xx.

    Whatever befalls it, it never hears anything but the beginning of what it should, or a plain refusal.
    """
    try:
        with server.connect(timeout=PATIENCE) as sock:
            with suppress(OSError):  # the server may have closed already, with words
                sock.sendall(said)
            heard = receive_all(sock)
    except ConnectionResetError:
        return "cut"
    for status, body in expected:
        head, _, rest = heard.partition(b"\r\n\r\n")
        if not rest and not heard.startswith(b"HTTP/1.1 "):
            assert heard == b"" or b"HTTP/1.1 ".startswith(heard[:9])
            return "cut"
        if heard.startswith((b"HTTP/1.1 500 ", b"HTTP/1.1 503 ")):
            return heard[9:12].decode()
        if len(rest) < len(body):
            assert body.startswith(rest)
            return "cut"
        assert head.startswith(b"HTTP/1.1 %d " % status), head
        assert rest.startswith(body)
        heard = rest[len(body) :]
    assert heard == b""
    return "good"


def conversation(server: Server) -> list[str]:
    """Peers one after another: small and large answers, a file, a body that is kept in a file, two requests at once."""
    ran = (200, b"%d" % 0)
    return [
        peer(server, request(b"/ran") + request(b"/ran", CLOSE), [ran, ran]),
        peer(server, request(b"/big?n=300000", CLOSE), [(200, b"x" * 300_000)]),
        peer(server, request(b"/files/large", CLOSE), [(200, LARGE)]),
        # With a condition, for an answer is kept only to the like of one before.
        peer(server, request(b"/files/small", b'If-None-Match: "another"', CLOSE), [(200, SMALL)]),
        peer(
            server,
            request(b"/ran", b"Transfer-Encoding: chunked", CLOSE, method=b"POST", body=CHUNKS),
            [ran],
        ),
        peer(server, b"BAD\r\n\r\n", [(400, b"the target is empty or has a byte that must be percent-encoded.\n")]),
        peer(server, request(b"/ran", CLOSE), [ran]),
    ]


def assert_one_suffers(outcomes: list[str], *how: str) -> None:
    worse = [outcome for outcome in outcomes if outcome != "good"]
    assert len(worse) <= 1, outcomes
    assert set(worse) <= set(how), outcomes

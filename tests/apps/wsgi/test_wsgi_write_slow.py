"""WSGI's write() and clients that read slowly: the call goes on, and what they have not read waits in a file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest

from allcomers.connection.http.spool import SPOOL_MOST
from support.apps.served import pattern
from support.certificates import Certificate
from support.clients import Client, request
from support.harness import Server, chosen, serving, wait_for
from support.wires import Lost, Wire, wire

APP = "tests/support/apps/wsgi_apps.py:writing"
FREE = chosen(
    [("epoll", "pool", ""), ("epoll", "auto", "1"), ("epoll-et", "auto", ""), ("asyncio", "pool", ""),
     ("poll", "auto", ""), ("thread", "pool", ""), ("process", "pool", "1")],
    [(model, calls, pure)
     for model in ("select", "poll", "epoll", "epoll-et", "asyncio", "thread", "process", "thread-pool")
     for calls in ("pool", "auto") if calls == "pool" or model not in ("asyncio", "thread", "process", "thread-pool")
     for pure in ("", "1")],
)  # fmt: skip
"""Models, calls and builds where another thread than the call's sends."""

BLOCK = 100_000
COUNT = 200
"""Blocks of a response that neither the kernels' buffers nor the memory for one response hold."""

EXPECTED = pattern(BLOCK) * COUNT

SLOW = ("--min-rate", "0")
"""Options where clients read when all else was looked at, however long that takes."""


class Notes:
    """The file of a call's progress, and the target of its request."""

    def __init__(self, folder: Path, more: str = "", count: int = COUNT) -> None:
        folder.mkdir(exist_ok=True)
        self._path = folder / "noted"
        self.target = f"/?blocks={BLOCK}&times={count}&note={self._path}{more}"

    @property
    def lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []

    def wait_for(self, line: str) -> None:
        wait_for(lambda: line in self.lines, f"the app to note {line!r}")


def spools(server: Server) -> dict[int, int]:
    """Return the sizes of the temporary files that are open, by inode."""
    found = {}
    for pid in _family(server.pid):
        for entry in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                if "/#" in str(entry.readlink()):  # a file without a name (open(2), O_TMPFILE)
                    found[entry.stat().st_ino] = entry.stat().st_size
            except OSError:  # closed meanwhile
                continue
    return found


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))
    except OSError:
        return


def resident(server: Server) -> int:
    """Return the bytes of memory that the worker has of its own."""
    (worker,) = server.workers()
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def ask(server: Server, target: str) -> Wire:
    """Return a client that has requested, and does not read."""
    peer = wire(server.address, None, receive_buffer=4096)
    peer.send(request("GET", target))
    return peer


def read_all(peer: Wire) -> bytes:
    peer.widen()
    return Client(peer).answer().body


@contextmanager
def newcomers(server: Server) -> Iterator[list[float]]:
    """Ask again and again, as others come; yield the seconds that each waits."""
    waited: list[float] = []
    over = threading.Event()

    def come() -> None:
        while not over.is_set():
            begun = time.monotonic()
            with wire(server.address, None) as peer:
                assert Client(peer).ask(request("GET", "/?blocks=5")).body == pattern(5)
            waited.append(time.monotonic() - begun)
            over.wait(0.02)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come)
        try:
            yield waited
        finally:
            over.set()
            coming.result()


@pytest.mark.parametrize(("model", "calls", "pure"), FREE)
def test_slow_readers_keep_no_call_waiting(model: str, calls: str, pure: str, tmp_path: Path) -> None:
    """Twice as many as there are threads: each call is over before its client has read."""
    with (
        serving("run", APP, "-m", model, "--calls", calls, "-t", "2", *SLOW, env={"ALLCOMERS_PURE": pure}) as server,
        ExitStack() as stack,
    ):
        noted = [Notes(tmp_path / str(number)) for number in range(4)]
        peers = [stack.enter_context(ask(server, each.target)) for each in noted]
        for each in noted:
            each.wait_for(str(COUNT - 1))
        assert len(spools(server)) == 4
        with wire(server.address, None) as peer:
            assert Client(peer).ask(request("GET", "/?blocks=5")).body == pattern(5)
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(read_all, peers)) == {EXPECTED}
        wait_for(lambda: not spools(server), "the files to be gone")
        for peer in peers:  # the connections are as good as before
            assert Client(peer).ask(request("GET", "/?blocks=5")).body == pattern(5)


@pytest.mark.parametrize("calls", ["pool", "auto"])
def test_64_slow_readers_and_32_threads(calls: str, tmp_path: Path) -> None:
    with serving("run", APP, "--calls", calls, *SLOW) as server, ExitStack() as stack:
        noted = [Notes(tmp_path / str(number), count=COUNT // 4) for number in range(64)]
        before = resident(server)
        with newcomers(server) as waited:
            peers = [stack.enter_context(ask(server, each.target)) for each in noted]
            for each in noted:
                each.wait_for(str(COUNT // 4 - 1))
            count = len(waited)
            wait_for(lambda: len(waited) > count + 10, "newcomers")
            assert median(waited[count:]) < 0.5  # not the longest: this machine may be busy with others
            # A thread's stack, two pieces on their way and a block at hand for each; never the 5 MB of a response.
            assert resident(server) - before < 64 * 1024 * 1024
            with ThreadPoolExecutor(4) as pool:
                assert all(body == pattern(BLOCK) * (COUNT // 4) for body in pool.map(read_all, peers))
        wait_for(lambda: not spools(server), "the files to be gone")


def test_over_tls(certificate: Certificate, tmp_path: Path) -> None:
    noted = Notes(tmp_path, "&rest=7")
    with (
        serving("run", APP, "--calls", "pool", "--certfile", str(certificate.pem)) as server,
        wire(server.address, certificate.trusted, receive_buffer=4096) as peer,
    ):
        peer.send(request("GET", noted.target))
        noted.wait_for(str(COUNT - 1))
        assert read_all(peer) == EXPECTED + pattern(7)
        wait_for(lambda: not spools(server), "the file to be gone")


@pytest.mark.parametrize("more", [f"&length={BLOCK * COUNT + 7}&rest=7", "&rest=7"])
def test_what_is_returned_follows_what_was_written(more: str, tmp_path: Path) -> None:
    noted = Notes(tmp_path, more)
    with serving("run", APP, "--calls", "pool", "-t", "1") as server, ask(server, noted.target) as peer:
        noted.wait_for(str(COUNT - 1))
        with wire(server.address, None) as other:  # the one thread is free
            assert Client(other).ask(request("GET", "/?blocks=5")).body == pattern(5)
        assert read_all(peer) == EXPECTED + pattern(7)


@pytest.mark.parametrize("calls", ["pool", "auto"])
def test_an_app_that_fails_has_sent_what_it_wrote(calls: str, tmp_path: Path) -> None:
    noted = Notes(tmp_path, "&wrong=raises")
    with serving("run", APP, "--calls", calls, quiet=False) as server, ask(server, noted.target) as peer:
        noted.wait_for(str(COUNT - 1))
        client = Client(peer)
        head = client.head()
        peer.widen()
        with pytest.raises(Lost) as raised:
            client.body(head)
        assert raised.value.after >= BLOCK * COUNT
        wait_for(lambda: not spools(server), "the file to be gone")
        assert server.stderr.count("Traceback") == 1


@pytest.mark.parametrize(("model", "calls"), [("epoll", "pool"), ("epoll", "auto"), ("thread", "pool")])
def test_one_that_never_reads_is_cut_and_its_file_is_gone(model: str, calls: str, tmp_path: Path) -> None:
    noted = Notes(tmp_path)
    with (
        serving("run", APP, "-m", model, "--calls", calls, "--min-rate", "1000000") as server,
        ask(server, noted.target),
    ):
        noted.wait_for(str(COUNT - 1))
        assert len(spools(server)) == 1
        wait_for(lambda: not spools(server), "the file to be gone")


@pytest.mark.parametrize(
    ("model", "calls"), chosen([("epoll", "pool")], [("epoll", "pool"), ("epoll", "auto"), ("thread", "pool")])
)
def test_an_endless_response_has_a_limit_on_disk_and_no_place_beyond(model: str, calls: str, tmp_path: Path) -> None:
    """Its thread waits, and another has its place; when its client leaves, the app is told."""
    noted = [Notes(tmp_path / str(number), "&endless") for number in range(3)]
    with serving("run", APP, "-m", model, "--calls", calls, "-t", "2") as server, ExitStack() as stack:
        peers = [stack.enter_context(ask(server, each.target)) for each in noted]
        wait_for(lambda: list(spools(server).values()) == [SPOOL_MOST] * 3, "the files to be full")
        with wire(server.address, None) as peer:
            assert Client(peer).ask(request("GET", "/?blocks=5")).body == pattern(5)
        for peer in peers:
            peer.close()
        for each in noted:
            each.wait_for("ClientGone: the client has gone")
        wait_for(lambda: not spools(server), "the files to be gone")


def test_a_response_longer_than_its_file_comes_whole(tmp_path: Path) -> None:
    """The file is a ring: its end is written again and again, where what stood there has gone out."""
    target = f"/?blocks=10000000&times=20&note={tmp_path / 'noted'}"
    with serving("run", APP, "--calls", "pool") as server, ask(server, target) as peer:
        wait_for(lambda: SPOOL_MOST in spools(server).values(), "the file to be full")
        assert read_all(peer) == pattern(10_000_000) * 20


@pytest.mark.parametrize("calls", ["pool", "inline"])
def test_a_full_disk_cuts_the_response_and_is_reported(calls: str, tmp_path: Path) -> None:
    """The limit on the size of a file stands for a full disk: the same write fails."""
    noted = Notes(tmp_path / "notes")
    before = ("prlimit", "--fsize=8000000", sys.executable)
    with serving("run", APP, "--calls", calls, quiet=False, before=before) as server:
        with ask(server, noted.target.replace("&note=", "&unused=")) as peer:
            client = Client(peer)
            wait_for(lambda: "File too large" in server.stderr, "the report")
            peer.widen()
            head = client.head()
            if calls == "inline":  # nothing was sent yet
                assert head.status == 500
            else:
                with pytest.raises(Lost):
                    client.body(head)
        wait_for(lambda: not spools(server), "the file to be gone")
        with wire(server.address, None) as peer:
            assert Client(peer).ask(request("GET", "/?blocks=5")).body == pattern(5)


def test_where_nothing_can_be_sent_before_the_end_there_is_a_limit_too(tmp_path: Path) -> None:
    noted = Notes(tmp_path, "&endless")
    with serving("run", APP, "--calls", "inline") as server, ask(server, noted.target):
        noted.wait_for(
            f"AnswerError: write() was given more than {SPOOL_MOST} bytes where none can be sent before the end"
        )
        wait_for(lambda: not spools(server), "the file to be gone")


@pytest.mark.parametrize("model", ["thread", "thread-pool", "process", "iterative"])
def test_where_each_client_has_a_thread_that_writes_no_faster_than_it_reads(model: str, tmp_path: Path) -> None:
    noted = Notes(tmp_path)
    with serving("run", APP, "-m", model, "--calls", "inline") as server, ask(server, noted.target) as peer:
        seen, since = 0, time.monotonic()

        def stands_still() -> bool:
            nonlocal seen, since
            if (now := len(noted.lines)) != seen:
                seen, since = now, time.monotonic()
            return seen > 0 and time.monotonic() - since > 0.5

        wait_for(stands_still, "the app to be kept waiting")
        assert seen < 150  # what the kernels hold, and no more
        assert not spools(server)
        assert read_all(peer) == EXPECTED

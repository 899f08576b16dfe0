"""A round of chaos: one server, two parts, and the accounts.

In the first part anything may happen: workers are killed, the server is reloaded, memory is short. Afterwards the same
supervisor serves with as many workers as before. In the second part the workers stay, and so does what they have open:
after a warm-up, chaos of peers, disk and descriptors leaves neither descriptor nor thread nor memory behind. In both,
each complete answer is right for its asker; in the second, the access log has one line for each.
"""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.support import processes

from chaos.visitors import Accounts, Visitor, all_at_once
from support.harness import Server, wait_for

WORKERS = 2
THREADS = 4
VISITORS = {"iterative": 3}
"""Clients at once, of each model; 10 of those that are not here. iterative serves one after another."""

FILE_SIZE = 700_000
"""Bytes of a file, while the disk is full: a body of 600 KB has room, one of 1.5 MB has none (RLIMIT_FSIZE)."""

MEMORY_TOLERANCE = 1024, 0.10
"""KiB for each visitor, and the part of what there was, by which anonymous memory may grow: an allocator keeps some of
what the largest requests needed, in an arena for each thread."""

_LINE = re.compile(r'"(?:GET|POST) /\w+\?(\S+) HTTP/1\.1" (\d+) ')
_EXCUSES = ("Too many open files", "File too large", "MemoryError")

_DEATH = re.compile(r"ERROR worker (\d+) (.*); another starts")

_RELOADED = re.compile(r"INFO reloaded in|the reload is given up")


class Combination(NamedTuple):
    model: str
    calls: str
    app: str
    is_tls: bool

    def __str__(self) -> str:
        return f"{self.model}, {self.calls}, {self.app}{', TLS' * self.is_tls}"


class Held(NamedTuple):
    """What a process tree holds."""

    processes: int
    descriptors: int
    threads: int
    kib: int


@dataclass
class Outcome:
    """The result of a round: what differs from what should be, and counts."""

    differences: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def held(pid: int) -> Held:
    members = processes.tree(pid)
    entries = [sum(1 for _ in Path(f"/proc/{pid}/{kind}").iterdir()) for pid in members for kind in ("fd", "task")]
    return Held(len(members), sum(entries[::2]), sum(entries[1::2]), processes.anonymous_kib(pid))


class Log:
    """An access log that no disk holds: a named pipe, which is read at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR)  # so that there is always a reader, and a writer
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def text(self) -> str:
        return b"".join(self._pieces).decode("ascii")

    def close(self) -> None:
        os.write(self._fd, b"\0")
        self._thread.join()
        os.close(self._fd)

    def _read(self) -> None:
        while not (piece := os.read(self._fd, 65536)).endswith(b"\0"):
            self._pieces.append(piece)


def _reloads(said: str) -> bool:
    """Return whether the last reload is under way: a new worker that was killed may wait for its next start."""
    last = said.rpartition(" reloading: ")
    return bool(last[1]) and not _RELOADED.search(last[2])


class Round:
    """One server under chaos for some seconds. `certificate` is a file with chain and key, `trusted` trusts it."""

    def __init__(
        self, what: Combination, seed: str, seconds: float, folder: Path, certificate: Path, trusted: ssl.SSLContext
    ) -> None:
        self.what, self._seed, self._seconds = what, seed, seconds
        self._draw = random.Random(f"{seed} faults")
        self._log = Log(folder / "access.log")
        self._certificate, self._trusted = certificate, trusted
        self._killed: set[int] = set()
        self._outcome = Outcome()
        self._starved = False

    def run(self) -> Outcome:
        what = self.what
        tls = ["--certfile", str(self._certificate)] if what.is_tls else []
        server = Server(
            *("run", f"{Path(__file__).with_name('apps.py')}:{what.app}", "-m", what.model, "--calls", what.calls),
            *("-w", str(WORKERS), "--threads", str(THREADS), "--access-log", str(self._log.path), *tls),
        )
        try:
            self._check(bool(server.address[1]), f"it does not start: {server.stderr[-500:]}")
            if server.address[1]:
                self._first(server)
                self._second(server)
                self._check_log_of_errors(server.stderr)
        except (AssertionError, OSError) as error:
            self._outcome.differences.append(f"{error!r}\n{server.stderr[-1500:]}")
        finally:
            status = server.stop()
            self._log.close()
        self._check(status == 0, f"exit status {status} at TERM")
        if self._outcome.differences:
            kept = (
                Path(tempfile.gettempdir()) / f"allcomers-chaos-{self._seed.replace(', ', '-').replace(' ', '-')}.log"
            )
            kept.write_text(server.stderr)
            self._outcome.differences.append(f"the server's log is in {kept}")
        return self._outcome

    # ------------------------------------------------------------ parts

    def _first(self, server: Server) -> None:
        """Chaos of every kind: afterwards the same supervisor has as many workers, and holds no more itself."""
        visitors, accounts = self._visitors(server, "a")
        all_at_once(visitors[:2], Visitor.every)
        before = self._of_supervisor(server)
        faults = [self._kill, self._reload, self._fill_disk, self._take_descriptors, self._starve]
        for visitor in visitors:
            visitor.excuses_500 = True
        self._chaos(server, visitors, faults, self._seconds * 0.4)
        wait_for(lambda: self._serves(server), "as many workers as before, which serve")
        self._check(server.process.poll() is None, "the supervisor has ended")
        wait_for(lambda: self._of_supervisor(server) <= before, f"the supervisor to hold {before} at most")
        self._settle(accounts, len(self._killed) * len(visitors))

    def _second(self, server: Server) -> None:
        """Chaos that no worker should note: the same workers hold no more afterwards."""
        visitors, accounts = self._visitors(server, "b")
        all_at_once(visitors, Visitor.every)
        all_at_once(visitors, lambda visitor: visitor.run(time.monotonic() + self._seconds * 0.15))
        workers = sorted(server.workers())
        before = self._quiet(server, None)
        self._chaos(server, visitors, [self._fill_disk, self._take_descriptors], self._seconds * 0.3)
        after = self._quiet(server, before)
        self._check(sorted(server.workers()) == workers, "other workers than before")
        room = self._room(before)
        for name, most, had, has in zip(Held._fields, room, before, after, strict=True):
            self._check(has <= most, f"{name}: {had} before, {has} after, {most} at most")
        self._settle(accounts, 0)

    def _visitors(self, server: Server, part: str) -> tuple[list[Visitor], Accounts]:
        what, accounts = self.what, Accounts()
        sockets = what.app == "asgi" and what.model not in ("iterative", "process", "thread", "thread-pool")
        trusted = self._trusted if what.is_tls else None
        count = VISITORS.get(what.model, 10)
        names = [f"{part}{number}" for number in range(count)]
        made = [Visitor(name, server.address, trusted, sockets, accounts, f"{self._seed} {name}") for name in names]
        return made, accounts

    def _chaos(
        self, server: Server, visitors: list[Visitor], faults: list[Callable[[Server], None]], seconds: float
    ) -> None:
        until = time.monotonic() + seconds
        over = threading.Event()

        def trouble() -> None:
            while not over.wait(self._draw.uniform(0.2, 1.0)):
                with suppress(OSError):  # the process is gone
                    self._draw.choice(faults)(server)

        thread = threading.Thread(target=trouble)
        thread.start()
        all_at_once(visitors, lambda visitor: visitor.run(until))
        over.set()
        thread.join()

    # ------------------------------------------------------------ faults

    def _kill(self, server: Server) -> None:
        pid = self._draw.choice(server.workers() or [0])
        if pid:
            self._killed.add(pid)
            os.kill(pid, signal.SIGKILL)
            self._outcome.counts["kills"] += 1

    def _reload(self, server: Server) -> None:
        server.send(signal.SIGHUP)
        self._outcome.counts["reloads"] += 1

    def _starve(self, server: Server) -> None:
        """Have a worker's memory be short for some allocations."""
        visitor = self._visitors(server, f"m{self._outcome.counts['starved']}-")[0][0]
        visitor.excuses_500 = True
        visitor.act(visitor.short_of_memory)
        self._outcome.counts["starved"] += 1

    def _fill_disk(self, server: Server) -> None:
        self._limit(server, resource.RLIMIT_FSIZE, lambda pid: FILE_SIZE)
        self._outcome.counts["disks"] += 1

    def _take_descriptors(self, server: Server) -> None:
        self._limit(server, resource.RLIMIT_NOFILE, lambda pid: sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) + 1)
        self._outcome.counts["descriptors"] += 1

    def _limit(self, server: Server, kind: int, soft: Callable[[int], int]) -> None:
        """Lower a limit of each worker for a moment; of processes that it forks meanwhile, too."""
        before: dict[int, tuple[int, int]] = {}
        for pid in server.workers():
            with suppress(OSError):
                before[pid] = resource.prlimit(pid, kind)
                resource.prlimit(pid, kind, (soft(pid), before[pid][1]))
        time.sleep(self._draw.uniform(0.1, 0.5))
        for pid, limits in before.items():
            for member in processes.tree(pid):
                with suppress(OSError):
                    resource.prlimit(member, kind, limits)

    # ------------------------------------------------------------ accounts

    def _check(self, is_right: bool, difference: str) -> None:
        if not is_right:
            self._outcome.differences.append(difference)

    def _of_supervisor(self, server: Server) -> tuple[int, int]:
        return tuple(sum(1 for _ in Path(f"/proc/{server.pid}/{kind}").iterdir()) for kind in ("fd", "task"))  # type: ignore[return-value]

    def _serves(self, server: Server) -> bool:
        workers = server.workers()
        if len(workers) != WORKERS or _reloads(server.stderr):
            return False
        time.sleep(1)  # one that is to be replaced would serve still
        visitor, accounts = (made := self._visitors(server, f"w{time.monotonic_ns()}-"))[0][0], made[1]
        for _ in range(4):
            visitor.act(visitor.stay)
        return not accounts.lost and server.workers() == workers

    def _quiet(self, server: Server, before: Held | None) -> Held:
        """Return what the server holds once it rests: with `before`, as soon as it is no more than that."""
        until = time.monotonic() + (15 if before else 3)
        while True:
            time.sleep(0.2)
            with suppress(OSError, TypeError):  # a process ends meanwhile
                now = held(server.pid)
                room = now if before is None else self._room(before)
                is_less = before is not None and all(has <= most for has, most in zip(now, room, strict=True))
                if is_less or time.monotonic() > until:
                    return now

    def _room(self, before: Held) -> Held:
        """Return what the server may hold after chaos.

        A pool may have started threads that it had not before; an ASGI call under a blocking model keeps the event
        loop of its thread for a while, of three descriptors.
        """
        is_blocking = self.what.model in ("iterative", "process", "thread", "thread-pool")
        loops = 3 * VISITORS.get(self.what.model, 10) if self.what.app == "asgi" and is_blocking else 0
        kib, part = MEMORY_TOLERANCE
        return Held(
            before.processes,
            before.descriptors + loops,
            max(before.threads, 1 + WORKERS * (THREADS + 4)),
            int(before.kib * (1 + part)) + kib * VISITORS.get(self.what.model, 10),
        )

    def _settle(self, accounts: Accounts, most_missing: int) -> None:
        """Compare answers with the lines of the access log."""
        self._outcome.counts.update({"answers": len(accounts.answered), "lost": accounts.lost})
        for kind, count in accounts.done.items():
            self._outcome.counts[f"did {kind}"] += count
        self._outcome.differences += accounts.wrong[:5]
        self._check(len(accounts.wrong) <= 5, f"{len(accounts.wrong)} wrong answers in all")
        self._check(len(accounts.answered) > 10, f"only {len(accounts.answered)} answers came whole")
        missing: list[str] = []

        def compare() -> bool:
            lines: dict[str, list[int]] = {}
            for mark, status in _LINE.findall(self._log.text()):
                lines.setdefault(mark, []).append(int(status))
            missing[:] = [f"{m} {s}: {lines.get(m)}" for m, s in accounts.answered.items() if lines.get(m) != [s]]
            return len(missing) <= most_missing

        try:
            wait_for(compare, "lines of the access log", 5)
        except AssertionError:
            self._check(False, f"{len(missing)} answers without their line in the access log: {missing[:5]}")

    def _check_log_of_errors(self, stderr: str) -> None:
        failed = re.findall(r"\[(\d+)\] CRITICAL ", stderr)  # which is looked at below
        for pid, how in _DEATH.findall(stderr):
            if int(pid) not in self._killed and pid not in failed:
                self._outcome.counts[f"worker {how}"] += 1
                self._check(self._outcome.counts["starved"] > 0, f"worker {pid} {how}")
        for entry in re.split(r"^(?=\d{4}-\d\d-\d\dT)", stderr, flags=re.M):
            if " CRITICAL " in entry:  # a worker that started in the middle of a fault may fail
                self._check(any(reason in entry for reason in _EXCUSES), entry[:1500])

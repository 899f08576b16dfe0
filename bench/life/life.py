"""What a server leaves over at its end: a table of servers and models × ways to end.

Each server has one worker (uvicorn two: with one it has no supervisor) and the app of apps.py: a thread that is no
daemon and a job of an executor, 1 s each, a handler of atexit, a ProcessPoolExecutor with two processes. Four clients
wait for an answer that takes 0.5 s; then the server, or its worker, is ended:

    term, int     the signal to the supervisor
    hup, usr2     the same; what belonged to the old worker, or the old server, is counted
    requests      by --max-requests
    memory        by --max-memory (allcomers)
    hang          a request that holds the interpreter for ever
    supervisor    kill -9 of the supervisor
    worker        kill -9 of the worker

A cell is "0" where nothing is left over, else what is, 2 s after the end:

    p  processes that still run         j  threads and jobs that did not finish
    a  handlers of atexit not run       r  requests not answered
    b  the address cannot be bound      !  the end did not come within 20 s
    -  the server knows no such end

Only processes that descend from this one are ended, each by its id. It is their
subreaper (prctl(2)), so it misses none.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from allcomers import models
from bench.support import harness, installing, processes
from bench.support.harness import LIBC, OUT, ROOT, CannotMeasureError

HOST = "127.0.0.1"
CLIENTS = 4
PATIENCE = 20.0
"""Seconds for a start, a request, an end."""

SETTLE = 2.0
"""Seconds after the end for what is left over."""

GRACE = "10"
"""Seconds that a server gives to requests."""

MOST = 40
"""Requests after which a worker is replaced."""

MODELS = [name for name, model in models.TABLE.items() if not model.obstacle]
PR_SET_CHILD_SUBREAPER = 36

Command = Callable[[int, str], list[str] | None]
"""The command of a server for a port and an end; None where it knows no such end."""


# The servers ---------------------------------------------------------------------------------------------------


def allcomers(model: str, target: str) -> Command:
    def command(port: int, end: str) -> list[str] | None:
        if model == "process" and end in ("memory", "hang"):  # its children have the app's calls, not the worker
            return None
        more = {"requests": ["--max-requests", str(MOST)], "memory": ["--max-memory", "200M"]}.get(end, [])
        limits = ["--graceful-timeout", GRACE, "--hang-timeout", "2", "--overload", "off", *more]
        started = harness.allcomers("run", f"bench/life/apps.py:{target}", "-m", model, *limits).command
        return [*started, "-b", f"{HOST}:{port}"]

    return command


def gunicorn(worker: str) -> Command:
    def command(port: int, end: str) -> list[str] | None:
        if end == "memory":
            return None
        python = installing.python_with(("gunicorn",))
        more = {"requests": ["--max-requests", str(MOST)], "hang": ["--timeout", "3"]}.get(end, [])
        threads = ["--threads", "8"] if worker == "gthread" else []
        limits = ["--graceful-timeout", GRACE, "--no-control-socket", *threads, *more]
        return [str(python), "-m", "gunicorn", "-k", worker, "-b", f"{HOST}:{port}", *limits, "bench.life.apps:app"]

    return command


def uvicorn(port: int, end: str) -> list[str] | None:
    if end in ("memory", "usr2"):
        return None
    python = installing.python_with(("uvicorn[standard]",))
    more = {"requests": ["--limit-max-requests", str(MOST)]}.get(end, [])
    limits = ["--workers", "2", "--timeout-graceful-shutdown", GRACE, "--log-level", "warning", *more]
    return [str(python), "-m", "uvicorn", "--host", HOST, "--port", str(port), *limits, "bench.life.apps:asgi_app"]


def granian(port: int, end: str) -> list[str] | None:
    if end in ("memory", "usr2", "requests", "hang"):
        return None
    python = installing.python_with(("granian",))
    where = ["--host", HOST, "--port", str(port), "--interface", "wsgi", "--blocking-threads", "8"]
    return [str(python), "-m", "granian", *where, "--respawn-failed-workers", "--no-log", "bench.life.apps:app"]


SERVERS: dict[str, Command] = {
    **{model: allcomers(model, "app") for model in MODELS},
    "epoll asgi": allcomers("epoll", "asgi_app"),
    "asyncio asgi": allcomers("asyncio", "asgi_app"),
    "gunicorn sync": gunicorn("sync"),
    "gunicorn gthread": gunicorn("gthread"),
    "uvicorn": uvicorn,
    "granian": granian,
}


# One server, one end -------------------------------------------------------------------------------------------


class Left(NamedTuple):
    """What is left over; `seconds` from the end's cause to the last process, or to the count."""

    processes: int
    jobs: int
    handlers: int
    requests: int
    is_bound: bool
    is_late: bool
    seconds: float

    def __str__(self) -> str:
        counts = {"p": self.processes, "j": self.jobs, "a": self.handlers, "r": self.requests}
        words = [f"{letter}{count}" for letter, count in counts.items() if count]
        return " ".join(["!"] * self.is_late + words + ["b"] * self.is_bound) or "0"


class Life:
    """A server that runs, and its clients.

    pid  of the supervisor
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, journal: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._port = port
        self._journal = journal
        self._answered = [False] * CLIENTS
        self._clients: list[threading.Thread] = []

    def workers(self) -> list[int]:
        """Return the processes that have loaded the app and live."""
        pids = [int(pid) for word, kind, pid, _ in self._notes() if (word, kind) == ("begun", "atexit")]
        return [pid for pid in pids if processes.start_time(pid)]

    def _notes(self) -> list[tuple[str, str, str, str]]:
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        return [(word, kind, pid, name) for word, kind, pid, name in (line.split() for line in lines)]

    def ask(self, path: str, patience: float = PATIENCE) -> bool:
        """Return whether this request is answered."""
        try:
            with socket.create_connection((HOST, self._port), timeout=patience) as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
                data = b""  # up to its length: a process that the app has forked may hold the socket open
                while not data.endswith(b"done") and (piece := sock.recv(4096)):
                    data += piece
            return b" 200 " in data and data.endswith(b"done")
        except OSError:
            return False

    def occupy(self) -> None:
        """Begin work that outlasts its request, then the requests that are in flight at the end."""
        if not self.ask("/work"):
            raise CannotMeasureError("the app does not work")
        for number in range(CLIENTS):
            thread = threading.Thread(target=self._be_client, args=(number,), daemon=True)
            thread.start()
            self._clients.append(thread)
        until("a request in flight", lambda: any(kind == "request" for _, kind, *_ in self._notes()))
        time.sleep(SETTLE / 20)  # the others are there, too

    def _be_client(self, number: int) -> None:
        self._answered[number] = self.ask(f"/slow?{number}")

    def lost(self) -> int:
        for thread in self._clients:
            thread.join(PATIENCE)
        return self._answered.count(False)

    def unfinished(self, pids: set[int], *kinds: str) -> int:
        """Count what began, of these kinds, and is not done; of `pids` alone, unless that is empty."""
        notes = self._notes()
        done = {(kind, pid, name) for word, kind, pid, name in notes if word == "done"}
        begun = {(kind, pid, name) for word, kind, pid, name in notes if word == "begun" and kind in kinds}
        return sum(not pids or int(pid) in pids for _, pid, _ in begun - done)


def until(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    limit = time.monotonic() + patience
    while not condition():
        if time.monotonic() > limit:
            raise CannotMeasureError(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.01)


def living(pids: dict[int, str]) -> list[int]:
    """Return those that still run."""
    return [pid for pid, since in pids.items() if since and processes.start_time(pid) == since]


def family(pid: int) -> dict[int, str]:
    """Return a process and its descendants, each with its start time."""
    return {member: processes.start_time(member) for member in processes.tree(pid)}


@contextmanager
def started(command: list[str], port: int, folder: Path) -> Iterator[Life]:
    """Run a server; at last end all that it has left over."""
    journal = folder / "journal"
    journal.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "LIFE_JOURNAL": str(journal), "PYTHONPATH": path}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=harness.in_child(None),
        )
    try:
        life = Life(process, port, journal)
        until("the server", lambda: life.ask("/", 1.0) or process.poll() is not None)
        if process.poll() is not None:
            raise CannotMeasureError(f"did not start: {' '.join(command)}\n{harness.text_of(folder / 'log')}")
        yield life
    finally:
        end_all(process)


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End the server well, then kill what remains of it."""
    for child in children():
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    with suppress(CannotMeasureError):
        until("the rest", lambda: reap(process) or not children(), 5.0)
    while children():
        for child in children():
            for pid in processes.tree(child):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        reap(process)
        time.sleep(0.01)


def children() -> list[int]:
    """Return this process's own that live, among them orphans of the server."""
    return [pid for pid in processes.children(os.getpid()) if processes.start_time(pid)]


def reap(process: subprocess.Popen[bytes]) -> None:
    """Collect the status of each orphan that has ended, and of the server."""
    process.poll()
    for pid in processes.children(os.getpid()):
        if pid != process.pid and not processes.start_time(pid):
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def measure(name: str, end: str) -> Left | None:
    """Return what is left over; None where the server knows no such end."""
    port = harness.free_port()
    command = SERVERS[name](port, end)
    if command is None:
        return None
    folder = OUT / "life" / f"{name}-{end}".replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with started(command, port, folder) as life:
        life.occupy()
        roots = [life.pid] if end in WHOLE else life.workers()
        trees = {root: family(root) for root in roots}
        begun = time.monotonic()
        ENDS[end](life)
        is_late = not await_end(life, trees, 1 if end == "hang" else len(roots))
        old = {
            pid: since for root in roots if is_late or not is_living(trees, root) for pid, since in trees[root].items()
        }
        with suppress(CannotMeasureError):
            until("all others", lambda: reap(life.process) or not living(old), SETTLE)
        seconds = time.monotonic() - begun
        left = living(old)
        lost = life.lost()
        is_bound = end in WHOLE and end != "usr2" and not is_free(port)
        jobs = life.unfinished(set(), "thread", "executor")
        handlers = life.unfinished(set(old), "atexit")
        return Left(len(left), jobs, handlers, lost, is_bound, is_late, seconds)


def await_end(life: Life, trees: dict[int, dict[int, str]], count: int) -> bool:
    """Return whether so many of the processes at the roots have ended in time."""
    with suppress(CannotMeasureError):
        until("the end", lambda: reap(life.process) or sum(not is_living(trees, root) for root in trees) >= count)
        return True
    return False


def is_living(trees: dict[int, dict[int, str]], root: int) -> bool:
    return processes.start_time(root) == trees[root][root]


def is_free(port: int) -> bool:
    """Return whether a server can listen there."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


# The ends ------------------------------------------------------------------------------------------------------


def by(signum: int) -> Callable[[Life], None]:
    return lambda life: os.kill(life.pid, signum)


def upgrade(life: Life) -> None:
    """Have a new server take over; gunicorn's old one waits to be told that it may end."""
    before = set(life.workers())
    os.kill(life.pid, signal.SIGUSR2)
    until("the new server", lambda: set(life.workers()) - before)
    time.sleep(SETTLE / 4)
    with suppress(ProcessLookupError):
        if processes.start_time(life.pid):
            os.kill(life.pid, signal.SIGTERM)


def send_requests(life: Life) -> None:
    """Send enough to have each of at most two workers replaced."""
    old = set(life.workers())
    for _ in range(4 * MOST):
        life.ask("/")
        if not old & set(life.workers()):
            return


def send_aside(path: str) -> Callable[[Life], None]:
    """Send a request that may have no answer."""
    return lambda life: threading.Thread(target=life.ask, args=(path,), daemon=True).start()


def kill_worker(life: Life) -> None:
    for pid in life.workers():
        os.kill(pid, signal.SIGKILL)


ENDS: dict[str, Callable[[Life], None]] = {
    "term": by(signal.SIGTERM),
    "int": by(signal.SIGINT),
    "hup": by(signal.SIGHUP),
    "usr2": upgrade,
    "requests": send_requests,
    "memory": send_aside("/grow"),
    "hang": send_aside("/hang"),
    "supervisor": by(signal.SIGKILL),
    "worker": kill_worker,
}
WHOLE = ("term", "int", "usr2", "supervisor")
"""The ends of a server; the others are a worker's."""


OWN = {"int": "jar", "hang": "jar", "worker": "pjar"}
"""What an end takes by its nature: INT waits for nothing, and what is killed finishes nothing."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--servers", type=harness.names, default=list(SERVERS), help=", ".join(SERVERS))
    parser.add_argument("--ends", type=harness.names, default=list(ENDS), help=", ".join(ENDS))
    parser.add_argument("--check", action="store_true", help="fail if more is left over than the end itself takes")


def run(args: argparse.Namespace) -> None:
    if LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1):
        raise CannotMeasureError("this process cannot be a subreaper (Linux 3.4)")
    figures: dict[str, dict[str, Any]] = {}
    rows = []
    for name in args.servers:
        cells = {end: cell(name, end) for end in args.ends}
        figures[name] = {end: left if isinstance(left, str | None) else left._asdict() for end, left in cells.items()}
        rows.append([name, *("-" if left is None else str(left) for left in cells.values())])
        print("  ".join(rows[-1]), file=sys.stderr)
    print()
    harness.table(["server", *args.ends], rows)
    if args.check:
        check(rows, args.ends)
        return
    print("\np processes, j jobs, a atexit, r requests, b address not free, ! not within 20 s, - no such end")
    harness.save("life", figures)


def check(rows: Sequence[Sequence[str]], ends: Sequence[str]) -> None:
    """Raise CannotMeasureError where more is left over than an end itself takes."""
    for name, *cells in rows:
        for end, found in zip(ends, cells, strict=True):
            if more := [word for word in found.split() if word[0] not in "0-" + OWN.get(end, "")]:
                raise CannotMeasureError(f"{name}, {end}: {' '.join(more)} left over (see --help)")


def cell(name: str, end: str) -> Left | str | None:
    try:
        return measure(name, end)
    except CannotMeasureError as error:
        harness.warn(f"{name}, {end}: {error}")
        return "?"

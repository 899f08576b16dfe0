"""The harness of all benchmarks: start a server on its core, measure its resources, run a load, print and save.

It knows processes and figures; it knows nothing of what a benchmark measures. The clients in Python are in
clients.py. Only processes started here are ever ended, by their pid.
"""

import ctypes
import json
import math
import os
import platform
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.support import processes
from bench.support.processes import TICKS, tree

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent
OUT = HERE / "out"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
LISTENING = re.compile(rb"Listening at: (?:https?|tcp)://([0-9.]+):(\d+)")
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # prctl(2): a benchmark that is killed takes its servers with it

Address = tuple[str, int]


class CannotMeasureError(Exception):
    """A requirement of a benchmark is missing or did not start: the reason in one line."""


# Processes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launch:
    """The command of a server. `address` is set if the server cannot report it on stderr itself."""

    command: list[str]
    address: Address | None = None
    drain: int = signal.SIGTERM  # the signal that ends it once all requests are answered


@dataclass(slots=True)
class Server:
    """A server that runs and listens. `log` holds all that it wrote to stdout and stderr."""

    process: subprocess.Popen[bytes]
    address: Address
    log: Path
    launch: Launch

    @property
    def pid(self) -> int:
        return self.process.pid


def allcomers(verb: str, target: str, *options: str) -> Launch:
    """Return `allcomers run TARGET` or `serve DIR` on a free port, from the environment that runs this."""
    program = Path(sys.executable).with_name("allcomers")
    if not program.exists() or not (ROOT / "src/allcomers/commands/main.py").exists():
        raise CannotMeasureError(f"allcomers cannot be started yet: {program} and cli.py are needed")
    return Launch([str(program), verb, target, "-b", "127.0.0.1:0", *options])


def hello(model: str, *options: str, app: str = "Hello") -> Launch:
    """Return the HTTP server that a `--models` entry names: a model of allcomers, or the peer `nginx` or `floor`."""
    if model == "floor":
        return Launch([str(compiled("floor/http_floor.c")), "0"])
    if model == "nginx":
        return nginx(*options)
    return allcomers("run", f"bench/support/apps.py:{app}", "-m", model, *options)


def nginx(*options: str, server: str = 'return 200 "Hello, World!";', listen: str = "") -> Launch:
    """Return nginx that answers the same 13 bytes, or as `server` configures it in its own words, on `listen` (" ssl").

    Of allcomers' options it knows those that the benchmarks use.
    """
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        raise CannotMeasureError("nginx is not installed (Debian: apt-get install nginx-light)")
    given = dict(zip(options[::2], options[1::2], strict=True))
    port = free_port()
    place = nginx_place()
    place.mkdir(parents=True, exist_ok=True)
    conf = place / "nginx.conf"
    paths = " ".join(f"{kind}_temp_path tmp;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root; " if os.geteuid() == 0 else ""  # else its workers are nobody, who may not read our files
    conf.write_text(
        f"{user}daemon off; worker_processes {given.get('--workers', 1)}; pid nginx.pid; error_log stderr;\n"
        "worker_rlimit_nofile 20000; events { worker_connections 16384; }\n"
        f"http {{ access_log off; default_type text/plain; keepalive_requests 1000000000; {paths}\n"
        f"client_header_timeout {given.get('--head-timeout', 10)}s;\n"
        f"server {{ listen 127.0.0.1:{port}{listen} backlog=2048; {server} }} }}\n"
    )
    command = [program, "-p", str(place), "-e", "stderr", "-c", str(conf)]
    return Launch(command, ("127.0.0.1", port), drain=signal.SIGQUIT)


def nginx_place() -> Path:
    """Return the folder of nginx's configuration, while this process runs."""
    return OUT / f"nginx-{os.getpid()}"


def compiled(source: str, *libraries: str) -> Path:
    """Compile a C program of bench/ into bench/out if it is older than its source or a header beside that."""
    path = HERE / source
    program = OUT / path.stem
    newest = max(part.stat().st_mtime for part in (path, *path.parent.glob("*.h")))
    if not program.exists() or program.stat().st_mtime < newest:
        OUT.mkdir(exist_ok=True)
        if shutil.which("cc") is None:
            raise CannotMeasureError("a C compiler is needed (Debian: apt-get install gcc libc6-dev)")
        made = program.with_suffix(f".{os.getpid()}")  # another benchmark may run the old one, or make it too
        linked = [f"-l{library}" for library in libraries]
        done = subprocess.run(["cc", "-O2", "-Wall", "-o", made, path, *linked], capture_output=True, text=True)
        if done.returncode:
            raise CannotMeasureError(f"{source} does not compile: {done.stderr.strip()[:300]}")
        made.replace(program)
    return program


def in_child(core: int | None) -> Callable[[], None]:
    """Prepare a child between fork and exec: its core, all the descriptors it may have, death with its parent."""

    def prepare() -> None:
        pin(core)
        raise_descriptor_limit()
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return prepare


def pin(core: int | None) -> None:
    """Put this process on one core; None allows all."""
    os.sched_setaffinity(0, CORES if core is None else [core])


def raise_descriptor_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def serving(launch: Launch, core: int | None = SERVER_CORE) -> Iterator[Server]:
    """Run a server on its core from when it listens to the end of the block."""
    logs = OUT / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{os.getpid()}-{time.monotonic_ns()}.log"
    with log.open("wb") as err:
        process = subprocess.Popen(
            launch.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=err,
            stderr=err,
            preexec_fn=in_child(core),
            start_new_session=True,
        )
    try:
        yield Server(process, wait_until_ready(process, launch, log), log, launch)
    except OSError as error:
        raise CannotMeasureError(f"{error}: {' '.join(launch.command)}\n{text_of(log)}") from error
    finally:
        end(process, launch)
        if log.stat().st_size < 200:  # the Listening line alone is not worth keeping
            log.unlink()


def wait_until_ready(process: subprocess.Popen[bytes], launch: Launch, log: Path) -> Address:
    limit = time.monotonic() + 10
    while time.monotonic() < limit and process.poll() is None:
        if launch.address and accepts(launch.address):
            return launch.address
        if found := LISTENING.search(log.read_bytes()):
            return found[1].decode(), int(found[2])
        time.sleep(0.005)
    raise CannotMeasureError(f"did not start: {' '.join(launch.command)} (exit {process.poll()})\n{text_of(log)}")


def text_of(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-1500:]


def accepts(address: Address) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str], launch: Launch) -> None:
    """Send TERM, then KILL to the rest of the tree after 5 s, with a message, as a server should not need it."""
    family = {pid: processes.start_time(pid) for pid in tree(process.pid)}
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        warn(f"TERM did not end {' '.join(launch.command)} within 5 s")
        process.kill()
        process.wait()
    for _ in range(20):
        left = [pid for pid, since in family.items() if since and processes.start_time(pid) == since]
        if not left:
            return
        time.sleep(0.05)
    warn(f"left behind by {' '.join(launch.command)}: {left}")
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def warn(line: str) -> None:
    print(f"  ! {line}", file=sys.stderr)


def free_port() -> int:
    """Return a free port below those that the kernel gives to clients (ip_local_port_range).

    Else a client that checks whether the server listens yet may be given that very port, and so connect to itself.
    """
    for _ in range(100):
        try:
            with socket.create_server(("127.0.0.1", random.randrange(20_000, 32_000))) as sock:
                return int(sock.getsockname()[1])
        except OSError:
            continue
    raise CannotMeasureError("no port is free on 127.0.0.1 between 20000 and 32000")


# The rest of the machine --------------------------------------------------------------------------------------


def busy_seconds() -> float:
    """Return all that the server's core and the load's have worked since boot, for any process (proc_stat(5))."""
    cores = {f"cpu{core}" for core in (SERVER_CORE, LOAD_CORE)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    spent = (list(map(int, line[1:9])) for line in lines if line[0] in cores)
    return sum(sum(times) - times[3] - times[4] for times in spent) / TICKS  # except idle and iowait


NOISE = 0.2  # cores that others may use


class Disturbance:
    """A measure of how many of the two cores others use.

    It matters beyond the time they take: they empty the caches, and the interpreter suffers more of that than a
    floor in C does, so that even the ratio of two CPU times doubles on a machine that others use.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self.patience = patience  # seconds to wait in total

    def undisturbed(self, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Repeat `measure` until its "others" is low; at the end of patience, return the least disturbed of all."""
        tried: list[dict[str, Any]] = []
        while True:
            start_time = time.monotonic()
            tried.append(measure())
            if tried[-1]["others"] < NOISE or self.patience <= 0:
                return min(tried, key=lambda result: float(result["others"]))
            self.patience -= time.monotonic() - start_time

    def wait_for_quiet(self) -> None:
        while self.patience > 0:
            before, start_time = busy_seconds(), time.monotonic()
            time.sleep(0.5)
            took = time.monotonic() - start_time
            if (busy_seconds() - before) / took < NOISE:
                return
            self.patience -= took

    def begin(self) -> None:
        self.start_time, self.busy, self.loads = time.monotonic(), busy_seconds(), load_seconds()

    def others(self, server: float) -> float:
        """Return the cores since begin(), except for the load and for the seconds that the server used."""
        ours = server + load_seconds() - self.loads
        return max(0.0, (busy_seconds() - self.busy - ours) / (time.monotonic() - self.start_time))


def load_seconds() -> float:
    """Return the CPU of this process, which may be a load itself, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


# Loads ---------------------------------------------------------------------------------------------------


def wrk(
    address: Address,
    seconds: float,
    connections: int = 64,
    heads: Sequence[str] = (),
    url: str = "http://{}:{}/",
    script: str = "wrk.lua",
) -> dict[str, Any]:
    """Run one thread of wrk on the load's core. Return requests, seconds, errors, and p50, p99, max in ms.

    url     with a place for host and port
    script  of bench/load: the request, if it is not a GET, and the format of the figures

    wrk takes whole seconds only: `seconds` is rounded up.
    """
    if shutil.which("wrk") is None:
        raise CannotMeasureError("wrk is needed to make the load (Debian: apt-get install wrk)")
    more = [part for head in heads for part in ("-H", head)]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}", "-s", str(HERE / "load" / script), *more]
    return load([*command, url.format(*address)], seconds)


def echo_load(address: Address, seconds: float, connections: int = 64) -> dict[str, Any]:
    """Send 64 bytes there and back on each connection. Return what wrk() returns; a round trip is a request."""
    program = compiled("load/echo_load.c")
    result = load([str(program), str(address[1]), str(connections), f"{seconds:g}"], seconds)
    return {"requests": result.pop("round_trips"), **result}


def load(command: list[str], seconds: float) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20, preexec_fn=in_child(LOAD_CORE))
    if done.returncode:
        raise CannotMeasureError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


# Figures -------------------------------------------------------------------------------------------------


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all do not exceed (nearest rank); nan of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return `median (lowest..highest)` of the rounds."""
    if not values:
        return "-"
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{mid:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns as wide as they need, the first to the left and the others to the right."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def save(name: str, figures: object) -> None:
    """Save bench/out/NAME.json: the figures, and where and how they were measured."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps({**surroundings(), "figures": figures}, indent=1) + "\n")
    print(f"\nsaved {path.relative_to(ROOT)}")


def surroundings() -> dict[str, object]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "command": " ".join(["python", "-m", "bench", *sys.argv[1:]]),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(CORES),
        "load average": os.getloadavg(),
    }


CODE = ("src", "bench", "setup.py")


def commit() -> str:
    """Return the last commit of the code that is measured, and of what measures it; `-dirty` with changes to them."""
    last, changed = (
        subprocess.run(["git", *command, "--", *CODE], cwd=ROOT, capture_output=True, text=True, check=False).stdout
        for command in (("log", "-1", "--format=%h"), ("status", "--porcelain"))
    )
    return last.strip() + ("-dirty" if changed else "")


def names(text: str) -> list[str]:
    """Return `--models epoll,asyncio` as a list."""
    return [name for name in text.split(",") if name]

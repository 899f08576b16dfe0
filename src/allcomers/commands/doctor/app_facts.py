"""Facts about the app: loaded as a worker would load it, in a process of its own that reports and ends.

It has a process of its own because an app may start threads, open ports, print or crash when it is imported. Its
standard output goes to standard error, so that standard output has the report only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final, NoReturn

from allcomers.commands.doctor.facts import DRIVERS, App
from allcomers.config.options import Config
from allcomers.errors import OperatorError
from allcomers.system.native.primitives import are_patched

PATIENCE: Final = 60.0
"""Seconds for an app to load."""

_CLIENTS: Final = ("requests", "httpx", "urllib3", "redis", "pymongo", "boto3", "grpc")
"""Modules with calls that wait for another server."""


def read(target: str, config: Config, paths: Sequence[str] = ()) -> App:
    """Load `target` in another process, as --user; return the facts about it, or the reason why it cannot be loaded."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _be_child(target, config, paths, writer)
    os.close(writer)
    message = _read_all(reader, monotonic() + PATIENCE)
    os.close(reader)
    if message is None:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if message is None:
        return App(target=target, problem=f"it was not loaded within {PATIENCE:g} s")
    if not message:
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        return App(target=target, problem=f"loading it ended the process ({how})")
    facts = json.loads(message)
    fields: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    return App(**fields)


def _read_all(fd: int, until: float) -> bytes | None:
    """Return all bytes up to the pipe's end; None if it is not reached in time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    pieces: list[bytes] = []
    while True:
        if not poll.poll(max(0.0, until - monotonic()) * 1000):
            return None
        piece = os.read(fd, 65536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _be_child(target: str, config: Config, paths: Sequence[str], writer: int) -> NoReturn:
    try:
        os.dup2(2, 1)
        app = _load(App(target=target), config, paths)
        with open(writer, "wb") as pipe:
            pipe.write(json.dumps(asdict(app)).encode())
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def _load(app: App, config: Config, paths: Sequence[str]) -> App:
    from allcomers import models
    from allcomers.apps import detection
    from allcomers.apps import loading as targets
    from allcomers.server import privileges
    from allcomers.server.endpoint import endpoint

    before = _listening()
    started = perf_counter()
    try:
        if (new := privileges.account_of(config.user, config.group)) is not None:
            new.become()
        if config.model:
            models.get(config.model).prepare()
        kind, target = detection.detect(targets.load(app.target, paths), config)
        seconds = perf_counter() - started
        # Load all that a worker loads with it, to measure its size; certificates are checked elsewhere.
        plain = config.but(interface=kind, factory=False, certfile=(), keyfile=(), ca_certs="", tls_self_signed=False)
        served = endpoint(target, plain, None)
    except OperatorError as error:
        return replace(app, problem=str(error), traceback=getattr(error, "traceback", ""))
    return replace(
        app,
        kind="asgi" if kind == "asgi2" else kind,
        seconds=seconds,
        memory=_own_memory(),
        threads=tuple(_threads()),
        listening=tuple(address for fd, address in _listening().items() if fd not in before),
        calls=served.calls,
        drivers=_loaded(DRIVERS),
        clients=_loaded(_CLIENTS),
        patched=are_patched(),
    )


def _loaded(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in sys.modules)


def _own_memory() -> int:
    """Return the bytes that only this process has (proc(5), smaps_rollup); without that file, its peak."""
    with suppress(OSError):
        rows = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines())
        return sum(int(row[1]) for row in rows if row[0] in ("Private_Clean:", "Private_Dirty:")) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)


def _threads() -> list[str]:
    """Return the names of all threads but the main one; the kernel's names for those that Python did not start."""
    python = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    known = {thread.native_id for thread in python} | {os.getpid()}
    others = []
    with suppress(OSError):
        tasks = [task for task in Path("/proc/self/task").iterdir() if int(task.name) not in known]
        others = [(task / "comm").read_text().strip() for task in tasks]
    return [thread.name for thread in python] + others


def _listening() -> dict[int, str]:
    """Return {descriptor: address} of the sockets on which this process listens."""
    found = {}
    for fd in _sockets():
        with suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                address = sock.getsockname()
                found[fd] = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
    return found


def _sockets() -> Iterator[int]:
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the descriptor of the listing is closed by now
            if stat.S_ISSOCK(os.fstat(int(path.name)).st_mode):
                yield int(path.name)

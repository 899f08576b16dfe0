"""An app with all that an app may leave behind: a thread that is no daemon, a job of an executor, a handler of atexit,
a pool of processes. It writes down what begins and what is done."""

import asyncio
import atexit
import ctypes
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

JOB = 1.0
"""Seconds for which a thread and a job of an executor run."""

SLOW = 0.5
"""Seconds that /slow takes."""

HANG = 3600
"""Seconds for which /hang holds the interpreter."""

_threads = ThreadPoolExecutor(4)
_processes: list[ProcessPoolExecutor] = []
_kept: list[bytes] = []


def note(word: str, kind: str, name: object = 0) -> None:
    """Write a line to the journal, in one write(2)."""
    journal = os.open(os.environ["LIFE_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    os.write(journal, f"{word} {kind} {os.getpid()} {name}\n".encode())
    os.close(journal)


def _job(kind: str, name: int) -> None:
    time.sleep(JOB)
    note("done", kind, name)


def _work() -> None:
    """Begin all that outlasts its request."""
    if not _processes:
        _processes.append(ProcessPoolExecutor(2, mp_context=get_context("fork")))
    list(_processes[0].map(abs, range(4)))
    name = time.monotonic_ns()
    note("begun", "thread", name)
    threading.Thread(target=_job, args=("thread", name), daemon=False).start()
    note("begun", "executor", name)
    _threads.submit(_job, "executor", name)


def _hang() -> None:
    """Hold the interpreter, so that no thread runs: the worker answers nobody."""
    ctypes.PyDLL(None).sleep(HANG)


def _grow() -> None:
    _kept.append(b"x" * 300_000_000)


_ACTIONS = {"/work": _work, "/hang": _hang, "/grow": _grow}


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/slow":
        note("begun", "request", environ["QUERY_STRING"])
        time.sleep(SLOW)
    elif path in _ACTIONS:
        _ACTIONS[path]()
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/slow":
        note("begun", "request", scope["query_string"].decode())
        await asyncio.sleep(SLOW)
    elif path in _ACTIONS:
        _ACTIONS[path]()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


atexit.register(note, "done", "atexit")
note("begun", "atexit")

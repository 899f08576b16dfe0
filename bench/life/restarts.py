"""What stays in a program that starts, asks and stops a server many times, under each model, by the class Server.

Each row is a program of its own; each of its servers answers --requests on 10 connections, one after the other. Counted
after the last stop, less the count after the first, each after a collection of garbage: threads, descriptors, child
processes, tasks of the loop; and the memory that has come between a tenth of the starts and the last (VmRSS of proc(5),
KiB).

    background   with Server(app): in a thread of the program
    main thread  Server(app).serve_forever(): the models that fork or patch
    loop         await Server(app).serve(): on the program's event loop
"""

import argparse
import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import allcomers
from allcomers import models
from bench.support.harness import CannotMeasureError

CONNECTIONS = 10
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
BODY = b"hello, all"
FORKING = ("process", "gevent")
SETTLE = 5.0
"""Seconds in which a thread that has ended is gone for the kernel, too, and what it had for the collector."""

PATIENCE = 600.0
"""Seconds for a row."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--models", default="", metavar="NAMES", help="of the background and of the main thread")


def run(arguments: argparse.Namespace) -> None:
    asked = arguments.models.split(",") if arguments.models else [
        name for name, model in models.TABLE.items() if not model.obstacle
    ]  # fmt: skip
    rows = [("main thread" if name in FORKING else "background", name) for name in asked]
    if not arguments.models:
        rows.append(("loop", "asyncio"))
    print(f"{arguments.starts} starts, {arguments.requests} requests each\n")
    print(
        f"{'way':12}{'model':14}{'answers':>9}{'threads':>9}{'fds':>6}{'children':>10}{'tasks':>7}{'KiB':>7}{'seconds':>9}"
    )
    for way, model in rows:
        began = time.monotonic()
        words = [way, model, str(arguments.starts), str(arguments.requests)]
        done = subprocess.run(
            [sys.executable, "-m", "bench.life.restarts", *words], capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode:
            raise CannotMeasureError(f"{way}, {model}: {done.stderr.strip().splitlines()[-1]}")
        found = json.loads(done.stdout)
        counts = f"{found['threads']:9}{found['fds']:6}{found['children']:10}{found['tasks']:7}{found['kib']:7}"
        print(f"{way:12}{model:14}{found['answers']:9}{counts}{time.monotonic() - began:9.1f}", flush=True)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] == "http":
        length = (b"content-length", str(len(BODY)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": BODY})


def ask(port: int, requests: int) -> int:
    """Return how many of the requests were answered."""
    answers = 0
    for number in range(CONNECTIONS):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            for _ in range(requests * (number + 1) // CONNECTIONS - requests * number // CONNECTIONS):
                sock.sendall(REQUEST)
                answer = b""
                while not answer.endswith(BODY):
                    answer += sock.recv(65536) or sys.exit(f"closed after {answer!r}")
                answers += answer.startswith(b"HTTP/1.1 200 ")
    return answers


def in_background(model: str, requests: int) -> int:
    with allcomers.Server(wsgi, port=0, model=model) as server:
        return ask(server.port, requests)


def in_main_thread(model: str, requests: int) -> int:
    server = allcomers.Server(wsgi, port=0, model=model)
    answers = []

    def client() -> None:
        while not server.port:
            time.sleep(0.001)
        answers.append(ask(server.port, requests))
        server.stop(wait=False)

    thread = threading.Thread(target=client)
    thread.start()
    server.serve_forever()
    thread.join()
    return sum(answers)


async def on_loop(model: str, requests: int) -> int:
    server = allcomers.Server(asgi, port=0, model=model)
    task = asyncio.create_task(server.serve())
    while not server.port:
        await asyncio.sleep(0.001)
    answers = await asyncio.to_thread(ask, server.port, requests)
    server.stop(wait=False)
    await task
    return answers


def counts() -> dict[str, int]:
    gc.collect()
    process = Path("/proc/self")
    status = (process / "status").read_text()
    return {
        "threads": len(list((process / "task").iterdir())),
        "fds": len(list((process / "fd").iterdir())),
        "children": len((process / "task" / str(os.getpid()) / "children").read_text().split()),
        "kib": int(status.partition("VmRSS:")[2].split()[0]),
    }


def report(seen: list[dict[str, int]], answers: int, tasks: int) -> None:
    first, last = seen[0], seen[-1]
    until = time.monotonic() + SETTLE
    while (last["threads"], last["fds"]) > (first["threads"], first["fds"]) and time.monotonic() < until:
        last = counts()
    found = {name: last[name] - first[name] for name in ("threads", "fds", "children")}
    print(json.dumps(found | {"answers": answers, "tasks": tasks, "kib": last["kib"] - seen[len(seen) // 10]["kib"]}))


async def loop_program(model: str, starts: int, requests: int) -> None:
    answers, seen = 0, []
    for _ in range(starts):
        answers += await on_loop(model, requests)
        seen.append(counts())
    report(seen, answers, len(asyncio.all_tasks()) - 1)


def main(way: str, model: str, starts: int, requests: int) -> None:
    if way == "loop":
        asyncio.run(loop_program(model, starts, requests))
        return
    once = in_main_thread if way == "main thread" else in_background
    answers, seen = 0, []
    for _ in range(starts):
        answers += once(model, requests)
        seen.append(counts())
    report(seen, answers, 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

"""A rolling restart of three nodes behind HAProxy or nginx, under a constant rate of requests.

Each node loads its app for some seconds. One after another gets TERM, and is started again when it has ended; the next
follows when the new one has said "Listening at", and a second later. Each request has a connection of its own to the
balancer, and is due at its time whatever became of the others (open loop). Printed: the requests whose answer took more
than a second, those that failed or were answered by another status than 200, and percentiles.

    --when ready,start     --listen-when of the nodes
    --balancers NAMES      haproxy; nginx (with fail_timeout=1s); nginx-default (fail_timeout=10s)
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.support import harness
from bench.support.harness import OUT, CannotMeasureError

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
SETTLE = 1.0
"""Seconds between a node that listens and the next that is ended, and before the first."""

PATIENCE = 30.0
"""Seconds for a request, and for a node to start or to end."""

APP = """
import time
time.sleep({loads})

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"Hello"]
"""

HAPROXY = """
global
    maxconn 4000
defaults
    mode http
    timeout connect 250ms
    timeout client 30s
    timeout server 30s
    retries 3
    option redispatch 1
frontend all
    bind {host}:{port}
    default_backend nodes
backend nodes
    balance roundrobin
    default-server check inter 500ms fall 2 rise 1
{nodes}
"""

NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit; {user}
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    upstream nodes {{ {nodes} keepalive 32; }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://nodes; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_connect_timeout 250ms;
        }}
    }}
}}
"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--balancers", type=harness.names, default=["haproxy", "nginx", "nginx-default"])
    parser.add_argument("--when", type=harness.names, default=["start", "ready"])
    parser.add_argument("--loads", type=float, default=4.0, help="seconds for which the app is loaded (4)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second (100)")
    parser.add_argument("--model", default="epoll")
    parser.add_argument("--drain-delay", type=float, default=0.0, help="of the nodes")
    parser.add_argument("--no-wait", action="store_true", help="end the next node as soon as a new one is started")


def run(args: argparse.Namespace) -> None:
    measured = [measure(balancer, when, args) for balancer in args.balancers for when in args.when]
    print(f"\nthree nodes, each loads its app for {args.loads:g} s; {args.rate:g} requests/s; times in ms\n")
    head = ["balancer", "--listen-when", "sent", "over 1 s", "failed", "p50", "p99", "longest", "failures"]
    harness.table(head, [row(each) for each in measured])
    harness.save("rolling", measured)


def row(each: dict[str, Any]) -> list[str]:
    counts = [f"{each[name]:,}" for name in ("sent", "late", "failed")]
    times = [f"{each[name]:,.0f}" for name in ("p50", "p99", "longest")]
    return [each["balancer"], each["when"], *counts, *times, ", ".join(f"{n} × {what}" for what, n in each["failures"])]


@dataclass
class Node:
    """A server behind the balancer."""

    app: Path
    port: int
    options: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)

    def start(self) -> None:
        log = self.app.with_name(f"{self.port}-{len(self.logs)}.log")
        self.logs.append(log)
        command = harness.allcomers("run", f"{self.app}:app", *self.options, "-b", f"{HOST}:{self.port}").command
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=harness.in_child(None)
            )

    def is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise CannotMeasureError(f"a node ended: {harness.text_of(self.logs[-1])}")
        return b"Listening at" in self.logs[-1].read_bytes()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)


@contextmanager
def nodes(app: Path, options: tuple[str, ...]) -> Iterator[list[Node]]:
    started = [Node(app, harness.free_port(), options) for _ in range(3)]
    try:
        for node in started:
            node.start()
        for node in started:
            limit = time.monotonic() + PATIENCE
            while not node.is_ready():
                if time.monotonic() > limit:
                    raise CannotMeasureError("a node did not start")
                time.sleep(0.02)
        yield started
    finally:
        for node in started:
            node.end()


@contextmanager
def balancing(name: str, ports: list[int], folder: Path) -> Iterator[int]:
    """Run a balancer before the nodes at these ports; give its own port."""
    kind = name.partition("-")[0]
    program = shutil.which(kind) or shutil.which(f"/usr/sbin/{kind}")
    if program is None:
        raise CannotMeasureError(f"{kind} is not installed (Debian: apt-get install {kind})")
    port = harness.free_port()
    (folder / f"{name}.conf").write_text(configuration(name, ports, port))
    config = str(folder / f"{name}.conf")
    command = [program, "-p", str(folder), "-e", "stderr", "-c", config] if kind == "nginx" else [program, "-f", config]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=harness.in_child(None)
        )
    try:
        limit = time.monotonic() + PATIENCE
        while not harness.accepts((HOST, port)):
            if time.monotonic() > limit or process.poll() is not None:
                raise CannotMeasureError(f"{name} did not start: {harness.text_of(folder / f'{name}.log')}")
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


def configuration(name: str, ports: list[int], port: int) -> str:
    """Return the balancer's configuration."""
    if name == "haproxy":
        lines = "\n".join(f"    server node{number} {HOST}:{node}" for number, node in enumerate(ports))
        return HAPROXY.format(host=HOST, port=port, nodes=lines)
    how = "" if name == "nginx-default" else " max_fails=1 fail_timeout=1s"
    lines = " ".join(f"server {HOST}:{node}{how};" for node in ports)
    user = "user root;" if os.geteuid() == 0 else ""
    return NGINX.format(host=HOST, port=port, nodes=lines, user=user)


def measure(balancer: str, when: str, args: argparse.Namespace, folder: Path = OUT / "rolling") -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    app = folder / "app.py"
    app.write_text(APP.format(loads=args.loads))
    options = ("-m", args.model, "--listen-when", when, "--drain-delay", f"{args.drain_delay:g}")
    with ExitStack() as stack:
        started = stack.enter_context(nodes(app, options))
        port = stack.enter_context(balancing(balancer, [node.port for node in started], folder))
        answers = asyncio.run(restart_under_load(started, port, args))
    times = [took for took, _ in answers]
    failures = Counter(what for _, what in answers if what != "200")
    return {
        "balancer": balancer,
        "when": when,
        "sent": len(answers),
        "late": sum(took > 1000 for took in times),
        "failed": failures.total(),
        "p50": harness.percentile(times, 50),
        "p99": harness.percentile(times, 99),
        "longest": max(times),
        "failures": failures.most_common(),
    }


async def restart_under_load(started: list[Node], port: int, args: argparse.Namespace) -> list[tuple[float, str]]:
    """Restart each node; return the milliseconds and the status, or the failure, of each request meanwhile."""
    done = asyncio.Event()
    load = asyncio.create_task(requests(port, args.rate, done))
    await asyncio.sleep(SETTLE)
    for node in started:
        await asyncio.to_thread(node.end)
        node.start()
        while not args.no_wait and not node.is_ready():
            await asyncio.sleep(0.02)
        await asyncio.sleep(SETTLE)
    while not all(node.is_ready() for node in started):
        await asyncio.sleep(0.02)
    await asyncio.sleep(SETTLE)
    done.set()
    return await load


async def requests(port: int, rate: float, done: asyncio.Event) -> list[tuple[float, str]]:
    """Send requests when they are due until `done`."""
    loop = asyncio.get_running_loop()
    start, tasks = loop.time(), []
    while not done.is_set():
        due = start + len(tasks) / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
        tasks.append(asyncio.create_task(request(port, due)))
    return await asyncio.gather(*tasks)


async def request(port: int, due: float) -> tuple[float, str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(REQUEST)
                data = await reader.read()
            finally:
                writer.close()
        what = data[9:12].decode("ascii", "replace") or "no answer"
    except TimeoutError:
        what = "time-out"
    except OSError as error:
        what = type(error).__name__
    return (loop.time() - due) * 1000, what

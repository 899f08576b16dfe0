"""10,000 idle keep-alive connections: the memory of each, and whether all are still answered.

500 connections warm the server up and stay; then 10,000 more are opened, each answered one request and left
idle. Memory is Pss_Anon of /proc/PID/smaps_rollup summed over the server's process tree: anonymous user
memory, shared pages once; the kernel's socket buffers are not in it. The difference before and after the
10,000, divided by them, is the figure. Then all 10,500 send one more request at once, and each response counts.
`nginx` and `floor` are allowed among the models. With --tls each connection has TLS. With --websockets each is one, and
has a message echoed in the place of each request.
"""

import argparse
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace

from bench.comparison import peers
from bench.comparison.sockets import echo, upgraded
from bench.comparison.workloads import CERTIFICATE, WORKLOADS
from bench.support import clients, harness, processes
from bench.support.harness import Address

WARM_UP, BATCH = 500, 100
OPENING = 600  # seconds that 10,000 handshakes may take
OVER_TLS = replace(WORKLOADS[0], tls=True)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=harness.names, default=["epoll", "asyncio"], metavar="M,N")
    parser.add_argument("--connections", type=int, default=10_000)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--tls", action="store_true", help="hold connections of TLS")
    kind.add_argument("--websockets", action="store_true", help="hold WebSockets")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds of quiet before memory is read")


def run(args: argparse.Namespace) -> None:
    harness.raise_descriptor_limit()
    harness.pin(harness.LOAD_CORE)
    measured = {model: measure(model, args) for model in args.models}
    print(f"\n{args.connections:,} idle connections beside {WARM_UP} that warmed the server up\n")
    harness.table(
        ["server", "KB each, idle", "KB each, after the burst", "base MB", "answered once more", "lost", "burst s"],
        [
            [
                model,
                f"{m['idle_kb']:.2f}",
                f"{m['after_kb']:.2f}",
                f"{m['base_kib'] / 1024:.1f}",
                f"{m['answered']:,}",
                m["lost"],
                f"{m['burst_seconds']:.2f}",
            ]
            for model, m in measured.items()
        ],
    )
    harness.save("idle-websockets" if args.websockets else "idle-tls" if args.tls else "idle", measured)


def measure(model: str, args: argparse.Namespace) -> dict[str, float]:
    open_all, ask_all = (hold_websockets, echo_all) if args.websockets else (hold_tls if args.tls else hold, burst)
    with harness.serving(served(model, args)) as server:
        held = open_all(server.address, WARM_UP)
        time.sleep(args.settle)
        base = processes.anonymous_kib(server.pid)
        held += open_all(server.address, args.connections)
        time.sleep(args.settle)
        idle = processes.anonymous_kib(server.pid)
        started = time.perf_counter()
        answered = ask_all(held)
        seconds = time.perf_counter() - started
        time.sleep(args.settle)
        after = processes.anonymous_kib(server.pid)
        for sock in held:
            sock.close()
    return {
        "base_kib": base,
        "idle_kb": (idle - base) * 1.024 / args.connections,
        "after_kb": (after - base) * 1.024 / args.connections,
        "answered": answered,
        "lost": len(held) - answered,
        "burst_seconds": seconds,
    }


def served(model: str, args: argparse.Namespace) -> harness.Launch:
    if args.websockets:
        return harness.allcomers("run", "bench/comparison/served.py:asgi_websocket", "-m", model)
    if args.tls:
        peers.prepare()
        if model == "nginx":
            return peers.nginx(OVER_TLS, f"keepalive_timeout {OPENING}s; client_header_timeout {OPENING}s;")
        return harness.hello(
            model, "--certfile", str(CERTIFICATE), "--keep-alive", str(OPENING), "--head-timeout", str(OPENING)
        )
    return harness.hello(model)


def hold_websockets(address: Address, count: int) -> list[socket.socket]:
    """Open `count` WebSockets, of which each has a message echoed."""
    held = [upgraded(address) for _ in range(count)]
    echo_all(held)
    return held


def echo_all(held: list[socket.socket]) -> int:
    return echo(held, len(held))


def hold_tls(address: Address, count: int) -> list[socket.socket]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return hold(address, count, lambda address: context.wrap_socket(clients.connect(address)))


def hold(
    address: Address, count: int, connect: Callable[[Address], socket.socket] = clients.connect
) -> list[socket.socket]:
    """Open `count` connections, a hundred at a time, each answered once."""
    held: list[socket.socket] = []
    while len(held) < count:
        batch = [connect(address) for _ in range(min(BATCH, count - len(held)))]
        for sock in batch:
            sock.sendall(clients.REQUEST)
        for sock in batch:
            if clients.receive(sock).status != 200:
                raise harness.CannotMeasureError("a connection was refused its first answer")
        held += batch
    return held


def burst(held: list[socket.socket], patience: float = 10.0, times: list[float] | None = None) -> int:
    """Send one request on every connection before any response is read; return how many complete 200 responses came.

    `times` is given the ms that each took since the first request.
    """
    started = time.perf_counter()
    epoll = select.epoll()
    waiting = {sock.fileno(): (sock, bytearray()) for sock in held}
    for sock in held:
        epoll.register(sock, select.EPOLLIN)
        try:
            sock.sendall(clients.REQUEST)
        except OSError:
            del waiting[sock.fileno()]
    answered = 0
    end = started + 6 * patience  # discard late data
    while waiting and time.perf_counter() < end and (events := epoll.poll(patience)):
        for fd, _ in events:
            if fd not in waiting:
                epoll.unregister(fd)
                continue
            outcome = read(*waiting[fd])
            if outcome is not None:
                answered += outcome
                del waiting[fd]
                if outcome and times is not None:
                    times.append((time.perf_counter() - started) * 1000)
    epoll.close()
    return answered


def read(sock: socket.socket, data: bytearray) -> bool | None:
    """Return True once the response is complete and 200, False if the connection is lost, None before."""
    try:
        piece = sock.recv(65536)
    except OSError:
        return False
    data += piece
    answer = clients.parse(data)
    if answer is None:
        return None if piece else False
    return answer.status == 200

"""10,000 idle keep-alive connections: the memory of each, and whether all are still answered.

500 connections warm the server up and stay; then 10,000 more are opened, each answered one request and left
idle. Memory is Pss_Anon of /proc/PID/smaps_rollup summed over the server's process tree: anonymous user
memory, shared pages once; the kernel's socket buffers are not in it. The difference before and after the
10,000, divided by them, is the figure. Then all 10,500 send one more request at once, and each response counts.
`nginx` and `floor` are allowed among the models. With --websockets each connection is one, and has a message echoed
in the place of each request.
"""

import argparse
import select
import socket
import time

from bench.comparison.sockets import echo, upgraded
from bench.support import clients, harness, processes
from bench.support.harness import Address

WARM_UP, BATCH = 500, 100


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=harness.names, default=["epoll", "asyncio"], metavar="M,N")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--websockets", action="store_true", help="hold WebSockets")
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
    harness.save("idle-websockets" if args.websockets else "idle", measured)


def measure(model: str, args: argparse.Namespace) -> dict[str, float]:
    open_all, ask_all = (hold_websockets, echo_all) if args.websockets else (hold, burst)
    with harness.serving(served(model, args.websockets)) as server:
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


def served(model: str, websockets: bool) -> harness.Launch:
    if websockets:
        return harness.allcomers("run", "bench/comparison/served.py:asgi_websocket", "-m", model)
    return harness.hello(model)


def hold_websockets(address: Address, count: int) -> list[socket.socket]:
    """Open `count` WebSockets, of which each has a message echoed."""
    held = [upgraded(address) for _ in range(count)]
    echo_all(held)
    return held


def echo_all(held: list[socket.socket]) -> int:
    return echo(held, len(held))


def hold(address: Address, count: int) -> list[socket.socket]:
    """Open `count` connections, a hundred at a time, each answered once."""
    held: list[socket.socket] = []
    while len(held) < count:
        batch = [clients.connect(address) for _ in range(min(BATCH, count - len(held)))]
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

"""10,000 idle keep-alive connections: the memory of each, and whether all are still answered.

500 connections warm the server up and stay; then 10,000 more are opened, each answered one request and left
idle. Memory is Pss_Anon of /proc/PID/smaps_rollup summed over the server's process tree: anonymous user
memory, shared pages once; the kernel's socket buffers are not in it. The difference before and after the
10,000, divided by them, is the figure. Then all 10,500 send one more request at once, and each response counts.
`nginx` and `floor` are allowed among the models. With --tls each connection has TLS, with --http2 it is one of HTTP/2
whose client begins with the preface. With --websockets each is a WebSocket, and has a message echoed in the place of
each request.
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
    kind.add_argument("--http2", action="store_true", help="hold connections of HTTP/2")
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
    kinds = [name for name in ("tls", "http2", "websockets") if getattr(args, name)]
    harness.save("-".join(["idle", *kinds]), measured)


def measure(model: str, args: argparse.Namespace) -> dict[str, float]:
    open_all: Callable[[Address, int], list[socket.socket]] = hold_tls if args.tls else hold
    ask_all: Callable[[list[socket.socket]], int] = burst
    if args.http2:
        open_all, ask_all = hold_http2, lambda held: burst(held, request=request_on(3), is_whole=ends(3))
    elif args.websockets:
        open_all, ask_all = hold_websockets, echo_all
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


def request_on(stream: int) -> bytes:
    """Return the HEADERS of a GET that curl could send."""
    from allcomers.protocol.http2 import blocks, frames

    fields = [("user-agent", "curl/8.14.1"), ("accept", "*/*")]
    block = blocks.request_block("GET", "http", "127.0.0.1:8000", "/", fields)
    return b"".join(frames.headers(stream, block, True, frames.FRAME_SIZE))


def ends(stream: int) -> Callable[[bytearray], bool | None]:
    """Return a function of what was received: True once it has the end of a stream, None before."""
    from allcomers.protocol.http2.frames import END_STREAM, HEAD, HEAD_SIZE, FrameType

    def is_whole(data: bytearray) -> bool | None:
        at = 0
        while len(data) - at >= HEAD_SIZE:
            high, low, kind, flags, number = HEAD.unpack_from(data, at)
            at += HEAD_SIZE + (high << 8 | low)
            if number == stream and kind == FrameType.DATA and flags & END_STREAM and at <= len(data):
                return True
        return None

    return is_whole


def hold_http2(address: Address, count: int) -> list[socket.socket]:
    """Open `count` connections of HTTP/2, each answered once."""
    from allcomers.protocol.http2 import frames

    first, is_whole = frames.PREFACE + frames.settings([]) + frames.SETTINGS_ACK + request_on(1), ends(1)
    held: list[socket.socket] = []
    while len(held) < count:
        batch = [clients.connect(address) for _ in range(min(BATCH, count - len(held)))]
        if burst(batch, request=first, is_whole=is_whole) < len(batch):
            raise harness.CannotMeasureError("a connection was refused its first answer")
        held += batch
    return held


def has_answer(data: bytearray) -> bool | None:
    """Return True for a whole response 200, False for another one, None for a part."""
    answer = clients.parse(data)
    return None if answer is None else answer.status == 200


def burst(
    held: list[socket.socket],
    patience: float = 10.0,
    times: list[float] | None = None,
    request: bytes = clients.REQUEST,
    is_whole: Callable[[bytearray], bool | None] = has_answer,
) -> int:
    """Send one request on every connection before any response is read; return how many complete 200 responses came.

    times     is given the ms that each took since the first request
    is_whole  whether what was received is a response; None for a part of one
    """
    started = time.perf_counter()
    epoll = select.epoll()
    waiting = {sock.fileno(): (sock, bytearray()) for sock in held}
    for sock in held:
        epoll.register(sock, select.EPOLLIN)
        try:
            sock.sendall(request)
        except OSError:
            del waiting[sock.fileno()]
    answered = 0
    end = started + 6 * patience  # discard late data
    while waiting and time.perf_counter() < end and (events := epoll.poll(patience)):
        for fd, _ in events:
            if fd not in waiting:
                epoll.unregister(fd)
                continue
            outcome = read(*waiting[fd], is_whole)
            if outcome is not None:
                answered += outcome
                del waiting[fd]
                if outcome and times is not None:
                    times.append((time.perf_counter() - started) * 1000)
    epoll.close()
    return answered


def read(sock: socket.socket, data: bytearray, is_whole: Callable[[bytearray], bool | None]) -> bool | None:
    """Return True once the response is complete and 200, False if the connection is lost, None before."""
    try:
        piece = sock.recv(65536)
    except OSError:
        return False
    data += piece
    outcome = is_whole(data)
    return False if outcome is None and not piece else outcome

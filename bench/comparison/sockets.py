"""WebSockets beside uvicorn, granian and hypercorn: a text of 70 bytes echoed, and sent to 1,000 clients at once.

Each server has one process, its defaults, and uvloop where it can; no client offers compression. CPU is user and
system time of the server's whole process tree, divided by the messages that it sent. The load is Python, on the other
core: it does not drive a server to its limit, which CPU per message does not need. The servers take turns, in rounds of
a shuffled order; the ratio is to allcomers in the same round.
"""

import argparse
import random
import select
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from bench.comparison import peers
from bench.comparison.workloads import WORKLOADS
from bench.request.websocket_steps import ANSWER, HANDSHAKE, MESSAGE
from bench.support import clients, harness, processes
from bench.support.harness import Address, CannotMeasureError

OURS = "allcomers asgi"
SERVERS = [OURS, "uvicorn", "granian asgi", "hypercorn"]
WORKLOAD = replace(WORKLOADS[0], app="websocket")
ECHOING = 16


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--servers", type=harness.names, default=SERVERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20_000, help="messages of an echo, in each round")
    parser.add_argument("--clients", type=int, default=1000, help="clients of a broadcast")
    parser.add_argument("--broadcasts", type=int, default=50, help="broadcasts, in each round")


def run(args: argparse.Namespace) -> None:
    harness.raise_descriptor_limit()
    harness.pin(harness.LOAD_CORE)
    echoes: dict[str, list[float]] = {}
    broadcasts: dict[str, list[float]] = {}
    names = list(args.servers)
    for _ in range(args.rounds):
        for name in random.sample(names, len(names)):
            try:
                with harness.serving(peers.launch(name, WORKLOAD)) as server:
                    echoes.setdefault(name, []).append(cost(server, echo, ECHOING, args.messages))
                    broadcasts.setdefault(name, []).append(cost(server, to_all, args.clients, args.broadcasts))
            except CannotMeasureError as error:
                names.remove(name)
                harness.warn(f"{name} is left out: {error}")
    report("a text of 70 bytes echoed", echoes)
    report(f"one sent to {args.clients:,} clients, each of them", broadcasts)
    harness.save("sockets", {"echo": echoes, "broadcast": broadcasts})


def report(title: str, micros: dict[str, list[float]]) -> None:
    print(f"\n{title}: median (lowest..highest) of the rounds\n")
    ours = micros.get(OURS, [])
    rows = [
        [name, harness.spread(values), f"{statistics.median(map(ratio, values, ours)):.2f}" if ours else ""]
        for name, values in micros.items()
    ]
    harness.table(["server", "CPU µs a message", "/ allcomers"], rows)


def ratio(theirs: float, ours: float) -> float:
    return theirs / ours


def cost(server: harness.Server, drive: Callable[[list[socket.socket], int], int], count: int, times: int) -> float:
    """Return µs of the server's CPU for each message that `drive` has it send, on `count` connections."""
    links = [upgraded(server.address) for _ in range(count)]
    drive(links, max(1, times // 10))
    before = processes.cpu_seconds(server.pid)
    sent = drive(links, times)
    used = processes.cpu_seconds(server.pid) - before
    for link in links:
        link.close()
    time.sleep(0.2)  # the server notices
    return used / sent * 1e6


def upgraded(address: Address) -> socket.socket:
    link = clients.connect(address)
    link.sendall(HANDSHAKE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += link.recv(1)
    if not head.startswith(b"HTTP/1.1 101 "):
        raise CannotMeasureError(f"a handshake was refused: {head!r}")
    return link


def echo(links: list[socket.socket], times: int) -> int:
    """Send `times` messages, one at a time on each connection, and receive each back. Return their number."""
    poll = select.epoll()
    by_fd = {link.fileno(): link for link in links}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    for link in links:
        link.sendall(MESSAGE)
    back = 0
    while back < times:
        for fd, _ in poll.poll(10):
            whole(by_fd[fd])
            back += 1
            if back <= times - len(links):
                by_fd[fd].sendall(MESSAGE)
    poll.close()
    return back


def to_all(links: list[socket.socket], times: int) -> int:
    """Send `times` messages that the app sends to all. Return the number that came."""
    for _ in range(times):
        links[0].sendall(BROADCAST)
        for link in links:
            whole(link)
    return times * len(links)


def whole(link: socket.socket) -> None:
    """Receive one message."""
    said = link.recv(len(ANSWER))
    while len(said) < len(ANSWER):
        piece = link.recv(len(ANSWER) - len(said))
        if not piece:
            raise CannotMeasureError("a connection was closed")
        said += piece


BROADCAST = b"\x82" + MESSAGE[1:]
"""The same as a binary message: the app sends its text to all."""

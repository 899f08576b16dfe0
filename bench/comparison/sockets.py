"""WebSockets, as clients in Python that offer no compression: a text of 70 bytes echoed, and sent to many at once.

They do not drive a server to its limit, which CPU per message does not need.
"""

import select
import socket

from bench.request.websocket_steps import ANSWER, HANDSHAKE, MESSAGE
from bench.support import clients
from bench.support.harness import Address, CannotMeasureError

PATIENCE = 10.0


def upgraded(address: Address) -> socket.socket:
    link = clients.connect(address)
    link.sendall(HANDSHAKE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += (byte := link.recv(1))
        if not byte:
            break
    if not head.startswith(b"HTTP/1.1 101 "):
        link.close()
        raise CannotMeasureError(f"a handshake was refused: {head!r}")
    return link


def echo_each(links: list[socket.socket], times: int) -> int:
    """Have `times` messages echoed on each connection, one at a time. Return their number."""
    return echo(links, times * len(links))


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
        if not (ready := poll.poll(PATIENCE)):
            raise CannotMeasureError("a message was not echoed")
        for fd, _ in ready:
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

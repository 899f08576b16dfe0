"""Check a server's responses before each measurement: a server that answers wrong is not measured.

The same requests warm the server up.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from functools import wraps

from bench.comparison import events as streams
from bench.comparison import sockets
from bench.comparison.workloads import Workload
from bench.support import clients
from bench.support.harness import Address, CannotMeasureError

PATIENCE = 10.0
IN_FLIGHT = 16  # requests on a connection, where they are pipelined
MESSAGE = b"0123456789abcdef" * 4

Check = Callable[[Workload, Address, float], None]


def for_seconds(ask: Check) -> Check:
    """Return `ask`, which is given when to end, as a check for some seconds, twice at least.

    Raises CannotMeasureError: the error in the response, in a line.
    """

    @wraps(ask)
    def check(workload: Workload, address: Address, seconds: float) -> None:
        try:
            ask(workload, address, time.monotonic() + seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CannotMeasureError(f"does not answer: {type(error).__name__}: {error}") from error

    return check


@for_seconds
def exchange(workload: Workload, address: Address, end: float) -> None:
    """Send a request on a persistent connection, or on a new one each time if the workload says so."""
    method, heads = "POST" if workload.body else "GET", dict(field(head) for head in workload.heads)
    sent = 0
    with closing(connected(workload, address)) as connection:
        while sent < 2 or time.monotonic() < end:
            connection.request(method, workload.path, workload.body or None, heads)  # connects anew after a close
            with connection.getresponse() as answer:
                judge(workload, answer)
            sent += 1


def connected(workload: Workload, address: Address) -> http.client.HTTPConnection:
    if not workload.tls:
        return http.client.HTTPConnection(*address, timeout=PATIENCE)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(*address, timeout=PATIENCE, context=context)


def field(head: str) -> tuple[str, str]:
    name, _, value = head.partition(": ")
    return name, value


def judge(workload: Workload, answer: http.client.HTTPResponse) -> None:
    body = answer.read()
    if answer.status != 200:
        raise CannotMeasureError(f"answers {answer.status} {answer.reason}")
    if body != workload.expected:
        raise CannotMeasureError(f"answers {len(body)} bytes that are not the expected body: {body[:40]!r}")
    if workload.chunked and not answer.chunked:
        raise CannotMeasureError("does not answer in chunks")
    if workload.closes and not answer.will_close:
        raise CannotMeasureError("keeps a connection that it should close")


@for_seconds
def pipelined(workload: Workload, address: Address, end: float) -> None:
    """Send as many requests at once as the load keeps in flight; expect as many responses, and not a byte more."""
    with clients.connect(address, PATIENCE) as sock:
        while True:
            sock.sendall(clients.REQUEST * IN_FLIGHT)
            data = b""
            for _ in range(IN_FLIGHT):
                while (answer := clients.parse(data)) is None:
                    data += received(sock)
                if answer.status != 200 or answer.body != workload.expected:
                    raise CannotMeasureError(f"answers {answer.status} {answer.body[:40]!r}")
                data = data[answer.size :]
            if data:
                raise CannotMeasureError("sends more responses than requests")
            if time.monotonic() > end:
                return


@for_seconds
def echo(workload: Workload, address: Address, end: float) -> None:
    with clients.connect(address, PATIENCE) as sock:
        while True:
            sock.sendall(MESSAGE)
            data = b""
            while len(data) < len(MESSAGE):
                data += received(sock)
            if data != MESSAGE:
                raise CannotMeasureError(f"echoes {data[:40]!r}")
            if time.monotonic() > end:
                return


@for_seconds
def websocket(workload: Workload, address: Address, end: float) -> None:
    with closing(sockets.upgraded(address)) as link:
        while True:
            sockets.echo([link], 2)
            if time.monotonic() > end:
                return


@for_seconds
def events(workload: Workload, address: Address, end: float) -> None:
    while True:
        streams.first(address, workload.path)
        if time.monotonic() > end:
            return


def received(sock: socket.socket) -> bytes:
    piece = sock.recv(65536)
    if not piece:
        raise ConnectionError("closed before the answer was whole")
    return piece

"""A real server in a process of its own, and real sockets to talk to it."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PATIENCE = 40.0
"""Seconds that a condition is waited for; nothing here takes a tenth of it unless it is broken, or the machine busy."""


def chosen(few: Sequence[T], whole: Sequence[T]) -> Sequence[T]:
    """Some combinations, each choice in one of them; the whole product where ALLCOMERS_WHOLE is set, as by
    `make conformance`."""
    return whole if os.environ.get("ALLCOMERS_WHOLE") else few


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Poll until `condition` returns something true, and return that."""
    until = time.monotonic() + patience
    while not (result := condition()):
        assert time.monotonic() < until, f"waited {patience:g} s in vain: {what}"
        time.sleep(0.01)
    return result


def has_noted(notes: Path, *expected: str) -> None:
    """Wait until an app has written as many lines as are `expected`: these."""
    wait_for(lambda: notes.exists() and notes.read_text().count("\n") >= len(expected), f"{len(expected)} notes")
    assert notes.read_text().split("\n")[:-1] == list(expected)


def _waiting(arguments: Sequence[str]) -> list[str]:
    """A busy machine delays requests as a crowd of them does; only tests of overload want any refused for that."""
    asks = any(word.startswith("--overload") for word in arguments)
    return ["--overload", "off"] if arguments[:1] in (("run",), ("serve",)) and not asks else []


_ORDINARY = re.compile(r"Listening at: |\S+ \[\d+\] INFO (?:allcomers \d|stopping: |stopped after )")


def reports(said: str) -> list[str]:
    """The lines of `said` but those that each server writes that starts and stops well."""
    return [line for line in said.splitlines() if not _ORDINARY.match(line)]


_ports = itertools.count(61 * os.getpid())  # other processes of the tests begin elsewhere


def free_port() -> int:
    """Return a port that no socket has, of IPv4 or IPv6, nor will get from the kernel before it is used: those that it
    gives out are above it (ip(7): ip_local_port_range)."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    has_both = socket.has_dualstack_ipv6()
    for number in _ports:
        address = ("::" if has_both else "", 10_000 + number % max(first - 10_000, 1000))
        family = socket.AF_INET6 if has_both else socket.AF_INET
        with suppress(OSError), socket.create_server(address, family=family, dualstack_ipv6=has_both):
            return address[1]
    raise AssertionError


class Server:
    """`allcomers ARGUMENTS` on a free port, until stop(). `bind` empty: no --bind is given.

    pid      of the supervisor
    address  (host, port) of the first address it listens on
    stderr   what it has said so far
    """

    def __init__(
        self,
        *arguments: str,
        bind: str = "127.0.0.1:0",
        env: dict[str, str] | None = None,
        cwd: Path = ROOT,
        before: Sequence[str] = (sys.executable,),
        close_fds: bool = True,
    ) -> None:
        self._said: str | None = None
        self._errors = tempfile.NamedTemporaryFile(prefix="allcomers-test-", suffix=".stderr")
        words = [*arguments, *_waiting(arguments), *(["--bind", bind] if bind else [])]
        command = [*before, "-m", "allcomers", *words]
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            stderr=self._errors,
            stdout=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            close_fds=close_fds,
        )
        self.pid = self.process.pid
        wait_for(lambda: "Listening at" in self.stderr or self.process.poll() is not None, "the server to listen")
        found = re.search(r"Listening at: \w+://(.+):(\d+) ", self.stderr)
        self.address = (found[1].strip("[]"), int(found[2])) if found else ("", 0)

    @property
    def stderr(self) -> str:
        return Path(self._errors.name).read_text() if self._said is None else self._said

    @property
    def reports(self) -> list[str]:
        """The reports in `stderr`."""
        return reports(self.stderr)

    def workers(self) -> list[int]:
        """The pids of the supervisor's children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def send(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def connect(self, tls: ssl.SSLContext | None = None, timeout: float = PATIENCE) -> socket.socket:
        sock = socket.create_connection(self.address, timeout=timeout)
        return tls.wrap_socket(sock, server_hostname="localhost") if tls else sock

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Its exit status; to be asked again, too."""
        if self._said is not None:
            return self.process.returncode
        if self.process.poll() is None:
            self.send(signum)
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.communicate()
            self._said = self.stderr
            self._errors.close()


@contextmanager
def serving(*arguments: str, **keywords: Any) -> Iterator[Server]:
    """A Server for the length of a block; it must end well, and have logged no traceback unless asked not to look."""
    quiet = keywords.pop("quiet", True)
    server = Server(*arguments, **keywords)
    try:
        assert server.address[1] or keywords.get("bind", "").startswith("unix:"), server.stderr
        yield server
        if quiet:
            assert "Traceback" not in server.stderr, server.stderr
    except BaseException as error:
        error.add_note(f"the server has said:\n{server.stderr}")
        raise
    finally:
        status = server.stop()
    assert status == 0, f"exit status {status}"


def receive_all(sock: socket.socket) -> bytes:
    """Everything until the peer closes; a reset counts as the end."""
    pieces = []
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def ask(server: Server, request: bytes) -> bytes:
    """Send `request`, receive until the server closes: for requests that end their connection."""
    with server.connect() as sock:
        sock.sendall(request)
        return receive_all(sock)

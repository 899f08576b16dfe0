"""The part of a worker that shows its errors and its stacks to the admin's process.

Stacks are asked for at a socket in a folder that only the workers' user may enter: one line, "stacks" or "sample
SECONDS RATE", and JSON comes back. A thread of its own answers, whatever the others do.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from allcomers.server.diagnostics import stacks
from allcomers.server.diagnostics.errors import ErrorKeeper
from allcomers.system.native.primitives import Socket
from allcomers.system.native.threads import start_thread
from allcomers.system.processes import forks

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from allcomers.system.diagnostics.board import DiagnosticBoard

_logger = logging.getLogger("allcomers.worker")

MOST_SECONDS: Final = 60.0
MOST_RATE: Final = 1000.0


def begin(board: DiagnosticBoard, place: int, events: AbstractEventLoop | None) -> None:
    """Keep the errors of the worker in this place from now on, and show its stacks if that is wanted."""
    if board.errors is not None:
        ErrorKeeper(board.errors, place).attach()
    if board.sockets:
        try:
            StackServer(os.path.join(board.sockets, str(place)), events).start()  # noqa: PTH118
        except (OSError, RuntimeError) as error:
            _logger.warning("--profile shows nothing of this worker: %s", error)


class StackServer:
    """Answers at a Unix socket, one client after another."""

    def __init__(self, path: str, events: AbstractEventLoop | None) -> None:
        self._events = events
        self._listener = Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - of the worker that was here before
        self._listener.bind(path)
        self._listener.listen(4)
        forks.keep(self)

    def filenos(self) -> Iterable[int]:
        return (self._listener.fileno(),)

    def start(self) -> None:
        start_thread(self._run, name="stacks")

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer, suppress(OSError, ValueError):
                peer.settimeout(5.0)
                words = peer.recv(100).decode("ascii").split()
                peer.sendall(json.dumps(self._answer(words)).encode())

    def _answer(self, words: list[str]) -> Any:
        if words[:1] == ["stacks"]:
            return stacks.now(self._events)
        _, seconds, rate = words
        return stacks.sample(min(float(seconds), MOST_SECONDS), min(float(rate), MOST_RATE))

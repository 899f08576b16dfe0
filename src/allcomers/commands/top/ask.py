"""The figures of a server, from the address of its --admin.

Who answers there may be anybody: what comes is read for a few seconds and to a limit, and must look as we expect it.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, Final

from allcomers.errors import SilentError
from allcomers.system.sockets import Bind

PATIENCE: Final = 3.0
"""Seconds for an answer."""

MOST: Final = 8 << 20
"""Bytes of one: a thousand workers are less than one MiB."""

_NUMBER: Final = (int, float)

_FIGURES: Final = {
    **dict.fromkeys(
        ("tps", "qps", "aborted", "bytes_in", "bytes_out", "p50", "p99", "max", "app", "busy", "cpu"), _NUMBER
    ),
    "answers": dict,
}

_WORKER: Final = {
    **dict.fromkeys(("pid", "users", "in_progress"), int),
    **dict.fromkeys(("age", "tps", "p50", "p99", "lag", "cpu", "memory"), _NUMBER),
    **dict.fromkeys(("state", "model"), str),
}

_SHAPE: Final = {
    **dict.fromkeys(("wanted", "users", "in_progress", "queue", "memory"), int),
    "stage": str,
    "ready": bool,
    "bind": [str],
    "windows": {"1": _FIGURES, "10": _FIGURES},
    "workers": [_WORKER],
}
"""What is shown, as it must be: an object has these members and may have others, a list has all its items so."""


class _ToPath(http.client.HTTPConnection):
    """To a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Source:
    """Raises ConfigError for a `text` that is no address to ask."""

    def __init__(self, text: str) -> None:
        self.text = text.removeprefix("http://").rstrip("/")
        self._bind = Bind(self.text, "allcomers top")

    def stats(self) -> dict[str, Any]:
        """Raises SilentError."""
        bind = self._bind
        host = bind.host or "127.0.0.1"
        connection = _ToPath(bind.path) if bind.path else http.client.HTTPConnection(host, bind.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/stats.json")
            answer = connection.getresponse()
            if answer.status != 200:
                raise SilentError(f"{self.text} answers with status {answer.status}: is that the --admin of a server?")
            found: dict[str, Any] = json.loads(answer.read(MOST))
        except (http.client.HTTPException, ValueError, RecursionError):
            raise SilentError(f"what answers at {self.text} is not the --admin of a server") from None
        except OSError as error:
            hint = f"start a server with --admin {self.text}, or say where one is"
            raise SilentError(f"nobody answers at {self.text} ({_why(error)}): {hint}") from None
        finally:
            connection.close()
        if not fits(found, _SHAPE):
            raise SilentError(f"what answers at {self.text} is not the --admin of a server")
        return found


def fits(value: Any, shape: Any) -> bool:
    """Is `value`, of some JSON, of this shape?"""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(fits(value.get(name), inner) for name, inner in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    return isinstance(value, shape)


def _why(error: OSError) -> str:
    return "it takes too long" if isinstance(error, TimeoutError) else error.strerror or str(error)

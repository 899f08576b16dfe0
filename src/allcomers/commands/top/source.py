"""The figures of a server, from the address of its --admin.

Any program may listen there: a response is read up to a time and a size, and must have the expected shape.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, Final

from allcomers.errors import SilentError
from allcomers.system.sockets import Bind

PATIENCE: Final = 3.0
"""Seconds for a response."""

MOST: Final = 8 << 20
"""The largest response in bytes: a thousand workers are less than one MiB."""

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
    **dict.fromkeys(("wanted", "users", "http2_users", "in_progress", "queue", "memory", "held", "spool"), int),
    "reload": {"state": str, "age": _NUMBER, "left": int},
    "totals": dict.fromkeys(("held_refused", "held_cut"), int),
    "stage": str,
    "ready": bool,
    "bind": [str],
    "windows": {"1": _FIGURES, "10": _FIGURES, "60": _FIGURES},
    "errors": [{"time": _NUMBER, "pid": int, "count": int, "message": str, "stack": str}],
    "workers": [_WORKER],
}
"""The shape of the figures: an object has these members and may have more; all items of a list have the same shape."""


class _ToPath(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Source:
    """The figures of the server whose --admin is `text`. Raises ConfigError for a bad address."""

    def __init__(self, text: str) -> None:
        self.text = text.removeprefix("http://").rstrip("/")
        self._bind = Bind(self.text, "allcomers top")

    def stats(self) -> dict[str, Any]:
        """Request the figures, and return them as a checked object of JSON. Raises SilentError."""
        bind = self._bind
        host = bind.host or "127.0.0.1"
        connection = _ToPath(bind.path) if bind.path else http.client.HTTPConnection(host, bind.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/stats.json")
            response = connection.getresponse()
            if response.status != 200:
                raise SilentError(
                    f"{self.text} responds with status {response.status}: it is not the --admin of a server"
                )
            found: dict[str, Any] = json.loads(response.read(MOST))
        except (http.client.HTTPException, ValueError, RecursionError):
            raise SilentError(f"the program at {self.text} is not the --admin of a server") from None
        except OSError as error:
            hint = f"start a server with --admin {self.text}, or give the address of one"
            raise SilentError(f"no server responds at {self.text} ({_reason(error)}): {hint}") from None
        finally:
            connection.close()
        if isinstance(found, dict):
            found.setdefault("errors", [])  # an earlier version has none
        if not fits(found, _SHAPE):
            raise SilentError(f"the program at {self.text} is not the --admin of a server")
        return found


def fits(value: Any, shape: Any) -> bool:
    """Return True if `value`, parsed from JSON, has this shape."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(fits(value.get(name), inner) for name, inner in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    return isinstance(value, shape)


def _reason(error: OSError) -> str:
    return "it takes too long" if isinstance(error, TimeoutError) else error.strerror or str(error)

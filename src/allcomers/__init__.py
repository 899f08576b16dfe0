"""A Python server for all comers: any TCP protocol, any web app, any concurrency model, measured.

The names below are loaded when they are first used: importing allcomers costs next to nothing.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # `typing` takes a while, and `python -m allcomers` would find it in the current folder
if TYPE_CHECKING:
    from typing import Any

    from allcomers.apps.routes import routes
    from allcomers.apps.service import Service
    from allcomers.apps.static.site import Site
    from allcomers.apps.web import Web
    from allcomers.commands.load.loadtest import loadtest
    from allcomers.errors import HttpError
    from allcomers.protocol.framing import Delimited, LengthPrefixed, Raw
    from allcomers.protocol.message import FileSlice, Request, Response
    from allcomers.server.embedded.server import Server, run

__version__ = "0.1.0"

__all__ = [
    "Delimited",
    "FileSlice",
    "HttpError",
    "LengthPrefixed",
    "Raw",
    "Request",
    "Response",
    "Server",
    "Service",
    "Site",
    "Web",
    "load",
    "loadtest",
    "routes",
    "run",
]

_HOMES = {
    "Delimited": "protocol.framing",
    "FileSlice": "protocol.message",
    "HttpError": "errors",
    "LengthPrefixed": "protocol.framing",
    "Raw": "protocol.framing",
    "Request": "protocol.message",
    "Response": "protocol.message",
    "Server": "server.embedded.server",
    "Service": "apps.service",
    "Site": "apps.static.site",
    "Web": "apps.web",
    "load": "commands.load",
    "loadtest": "commands.load.loadtest",
    "routes": "apps.routes",
    "run": "server.embedded.server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'allcomers' has no attribute {name!r}")
    value = importlib.import_module(f"allcomers.{_HOMES[name]}")
    if name != "load":
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

"""A Python server for all comers: any TCP protocol, any web app, any concurrency model, measured.

The names below are loaded when they are first used: importing allcomers costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcomers.apps.routes import routes
    from allcomers.apps.service import Service
    from allcomers.apps.static.site import Site
    from allcomers.apps.web import Web
    from allcomers.errors import HttpError
    from allcomers.protocol.framing import Delimited, LengthPrefixed, Raw
    from allcomers.protocol.message import FileSlice, Request, Response

__version__ = "0.1.0"

__all__ = [
    "Delimited",
    "FileSlice",
    "HttpError",
    "LengthPrefixed",
    "Raw",
    "Request",
    "Response",
    "Service",
    "Site",
    "Web",
    "load",
    "routes",
]

_HOMES = {
    "Delimited": "protocol.framing",
    "FileSlice": "protocol.message",
    "HttpError": "errors",
    "LengthPrefixed": "protocol.framing",
    "Raw": "protocol.framing",
    "Request": "protocol.message",
    "Response": "protocol.message",
    "Service": "apps.service",
    "Site": "apps.static.site",
    "Web": "apps.web",
    "load": "commands.load",
    "routes": "apps.routes",
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

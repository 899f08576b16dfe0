"""Servers of the apps in apps/events_app.py, under every model, where every kind of calls runs, in both builds."""

from __future__ import annotations

import ssl
from typing import Any

from support.clients import Client
from support.harness import Server, serving
from support.wires import wire

BLOCKING = ("iterative", "process", "thread", "thread-pool")
LOOPS = ("select", "poll", "epoll", "epoll-et", "asyncio")
EVERY = [
    *((model, calls, pure) for model in BLOCKING for calls in ("inline", "pool") for pure in ("", "1")),
    *((model, calls, pure) for model in LOOPS for calls in ("inline", "pool", "auto") for pure in ("", "1")),
]


def run(app: str, model: str, calls: str, pure: str, *options: str) -> Any:
    env = {"ALLCOMERS_PURE": pure} if pure else {}
    target = f"tests/support/apps/events_app.py:{app}"
    return serving("run", target, "-m", model, "--calls", calls, *options, env=env)


def client_of(server: Server, tls: ssl.SSLContext | None = None) -> Client:
    return Client(wire(server.address, tls))

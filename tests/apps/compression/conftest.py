from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import brotli
import pytest
import zstandard

from support.clients import Answer, Client, request
from support.harness import Server, serving
from support.wires import Wire


def decoded(answer: Answer) -> bytes:
    """The body as the app gave it."""
    coding = answer["Content-Encoding"]
    if coding is None:
        return answer.body
    return DECODE[coding](answer.body)


DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


DECODERS: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
}


class Served:
    """A server of one app, and its clients."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def client(self) -> Client:
        return Client(Wire(self.server.address))

    def ask(self, script: Any, accept: str | None = "gzip", *fields: str, method: str = "GET") -> Answer:
        lines = [*fields, *([f"Accept-Encoding: {accept}"] if accept is not None else [])]
        with self.client() as client:
            client.send(request(method, script.target(), *lines))
            return client.answer(method)


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """Serve an app of compressed_app, by these options; each once."""
    kept: dict[tuple[str, ...], Served] = {}
    with ExitStack() as stack:

        def served(app: str, *options: str, pure: str = "") -> Served:
            key = (app, pure, *options)
            if key not in kept:
                words = ("run", f"tests/support/apps/compressed_app.py:{app}", "--compress", *options)
                env = {"ALLCOMERS_PURE": pure} if pure else {}
                kept[key] = Served(stack.enter_context(serving(*words, env=env, quiet=False)))
            return kept[key]

        yield served

"""The content codings that a response may get: zstd (RFC 8878), gzip (RFC 1952) and br (RFC 7932).

A body at hand is coded at once; one that comes in pieces by an encoder, which holds a window of what came before. gzip
is Python's own; zstd is from Python 3.14 on, before that by the package zstandard; br by the package Brotli.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

_REUSED: Final = 64 * 1024
"""Bytes up to which a thread codes one body after another with the same tables. PERF: 48 µs for 10 KB of JSON, and 100
with new ones; for a larger body they would be large, and stay (python -m timeit)."""

_GZIP: Final = 31
"""wbits of zlib: a window of 32 KiB, with gzip's head and tail."""

_ZSTD: Final = {"window_log": 16, "hash_log": 13, "chain_log": 13}
"""Of a stream: 270 KiB of memory in place of 2.3 MiB, for the same size (a list of JSON in pieces of 64 KiB, 20 %)."""


class Encoder(Protocol):
    """One body on its way through a coding."""

    def add(self, data: bytes) -> bytes:
        """Take `data`; return what is ready of it, often nothing."""
        ...

    def flush(self) -> bytes:
        """Return all that the client needs to decode what was added."""
        ...

    def finish(self) -> bytes:
        """Return the end."""
        ...


class ContentCoding(NamedTuple):
    """A content coding: its name in HTTP, what codes a body at hand, and what makes an Encoder."""

    name: str
    whole: Callable[[bytes], bytes]
    stream: Callable[[], Encoder]


class _Stream:
    """An Encoder of three methods of a library."""

    __slots__ = ("add", "finish", "flush")

    def __init__(self, add: Callable[[bytes], bytes], flush: Callable[[], bytes], finish: Callable[[], bytes]) -> None:
        self.add = add
        self.flush = flush
        self.finish = finish


def available() -> tuple[ContentCoding, ...]:
    """Return the codings that this Python can do, the one that gains most for its time first.

    10 KB of JSON: docs/performance.md, "Compression".
    """
    return tuple(coding for coding in (_standard_zstd() or _zstandard(), _gzip(), _brotli()) if coding is not None)


def _gzip() -> ContentCoding:
    def whole(data: bytes) -> bytes:
        return zlib.compress(data, 1, _GZIP)

    def stream() -> Encoder:
        made = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
        return _Stream(made.compress, lambda: made.flush(zlib.Z_SYNC_FLUSH), made.flush)

    return ContentCoding("gzip", whole, stream)


def _standard_zstd() -> ContentCoding | None:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # before Python 3.14, or built without it
        return None
    return standard_zstd(zstd)


def standard_zstd(zstd: Any) -> ContentCoding:
    """Return zstd by `zstd`, a module as compression.zstd is (PEP 784)."""
    options = {getattr(zstd.CompressionParameter, name): value for name, value in _ZSTD.items()}
    options[zstd.CompressionParameter.compression_level] = 3
    kept = threading.local()

    def whole(data: bytes) -> bytes:
        if len(data) > _REUSED:
            return bytes(zstd.compress(data, 3))
        if not hasattr(kept, "compressor"):
            kept.compressor = zstd.ZstdCompressor(3)
        kept.compressor.set_pledged_input_size(len(data))
        return bytes(kept.compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME))

    def stream() -> Encoder:
        made = zstd.ZstdCompressor(options=options)
        return _Stream(made.compress, lambda: made.flush(made.FLUSH_BLOCK), made.flush)

    return ContentCoding("zstd", whole, stream)


def _zstandard() -> ContentCoding | None:
    try:
        import zstandard
    except ImportError:
        return None
    parameters = zstandard.ZstdCompressionParameters.from_level(3, **_ZSTD)
    kept = threading.local()

    def whole(data: bytes) -> bytes:
        if len(data) > _REUSED:
            return zstandard.ZstdCompressor(level=3).compress(data)
        if not hasattr(kept, "compressor"):
            kept.compressor = zstandard.ZstdCompressor(level=3)
        return bytes(kept.compressor.compress(data))

    def stream() -> Encoder:
        made = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return _Stream(made.compress, lambda: made.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), made.flush)

    return ContentCoding("zstd", whole, stream)


def _brotli() -> ContentCoding | None:
    try:
        import brotli  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return None

    def whole(data: bytes) -> bytes:
        return bytes(brotli.compress(data, quality=4, lgwin=18))

    def stream() -> Encoder:
        made = brotli.Compressor(quality=3, lgwin=16)
        return _Stream(made.process, made.flush, made.finish)

    return ContentCoding("br", whole, stream)

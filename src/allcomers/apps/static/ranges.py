"""Parts of a file: the Range field and the multipart/byteranges response (RFC 9110 section 14).

This file parses ranges and frames their parts; `conditions` decides if a Range counts.
"""

from __future__ import annotations

import os
from typing import TypeAlias

from allcomers.protocol.message import File, FileSlice, Piece

MAX_RANGES = 200
"""Ranges of one request, as Apache's MaxRanges; for more the whole file is sent."""

Ranges: TypeAlias = list[tuple[int, int]]
"""(first byte, count) of each part, count at least 1, in the order of the request."""

_HUGE = 1 << 63
"""Stands for any number beyond every file, so that no arithmetic overflows and int() stays short (nginx 2017-7529)."""


def parse(field: str, size: int) -> Ranges | None:
    """Return the parts of `size` bytes that a Range field selects.

    None: the field is to be ignored, and the whole file sent (section 14.2): not valid, not in bytes, too many
    ranges, or together longer than the file, which only overlapping ones are. []: valid, but none of it in the
    file: 416. An empty file has no parts, so it is sent whole, as by Go.
    """
    unit, _, specs = field.partition("=")
    if unit.strip(" \t").lower() != "bytes" or specs.count(",") >= MAX_RANGES or not size:
        return None
    try:
        found = [_resolve(spec, size) for spec in map(_trim, specs.split(",")) if spec]
    except ValueError:
        return None
    ranges = [part for part in found if part[1] > 0]
    return None if not found or sum(count for _, count in ranges) > size else ranges


def _trim(spec: str) -> str:
    return spec.strip(" \t")


def _resolve(spec: str, size: int) -> tuple[int, int]:
    """Return (first, count) of "5-9", "5-" or "-5"; count 0 or less where the file has none of it.

    Raises ValueError for any other text, and for a range that runs backwards (section 14.1.1).
    """
    first, dash, last = spec.partition("-")
    if not dash:
        raise ValueError(spec)
    if not first:
        count = min(_number(last), size)
        return size - count, count
    start = _number(first)
    end = _number(last) if last else _HUGE
    if end < start:
        raise ValueError(spec)
    return start, min(end, size - 1) - start + 1


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()):  # int() takes signs, spaces, "_" and other digits too
        raise ValueError(digits)
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < 19 else _HUGE


def content_range(first: int, count: int, size: int) -> str:
    """Return the Content-Range value of one part (section 14.4): "bytes 0-4/10"."""
    return f"bytes {first}-{first + count - 1}/{size}"


def multipart(file: File, size: int, media_type: str, ranges: Ranges) -> tuple[list[Piece], int, str]:
    """Return the pieces of a multipart/byteranges body, their length in bytes, and its Content-Type (section 14.6).

    The boundary is random, so that no file can forge the head of a part.
    """
    boundary = os.urandom(16).hex()
    pieces: list[Piece] = []
    length = 0
    opening = f"--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: "
    for first, count in ranges:
        head = f"{opening}{content_range(first, count, size)}\r\n\r\n".encode("latin-1")
        pieces += (head, FileSlice(file, first, count))
        length += len(head) + count
        opening = f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: "
    end = f"\r\n--{boundary}--\r\n".encode("latin-1")
    return [*pieces, end], length + len(end), f"multipart/byteranges; boundary={boundary}"

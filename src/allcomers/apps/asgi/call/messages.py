"""Messages of an app, and what it raises: checked, and as the connection has them."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterable
from typing import IO, Any, TypeAlias

from allcomers.errors import AnswerError, ClientGone
from allcomers.protocol.head import BARE
from allcomers.protocol.message import Request, Response

Message: TypeAlias = dict[str, Any]
"""An event of ASGI: str keys, values of many types."""


def is_of_leaving(error: BaseException | None) -> bool:
    """Return True if `error` only reports that the client is gone, wrapped by the app perhaps."""
    while error is not None:
        if isinstance(error, ClientGone | asyncio.CancelledError):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(is_of_leaving(one) for one in error.exceptions)
        error = error.__cause__ or error.__context__
    return False


def check_status(status: object) -> None:
    """Raise AnswerError unless `status` is that of a final response."""
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise AnswerError(f"{status!r} is no status for a final response")


def as_bytes(body: Any) -> bytes:
    """Return a body as bytes. Raises AnswerError: bytes() would make something of a number, too."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    raise AnswerError(f"a body is bytes, not {type(body).__name__}")


def decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return names and values as a Response has them."""
    return [(str(name, "latin-1"), str(value, "latin-1")) for name, value in headers]


def file_part(message: dict[str, Any]) -> tuple[IO[bytes], int, int]:
    """Return (open file, offset, bytes) of an `http.response.zerocopysend` (ASGI, HTTP extensions).

    The file is our own: the app closes its when send() returns, or is cancelled.
    """
    file = message["file"]
    descriptor = file if isinstance(file, int) else file.fileno()
    offset, count = message.get("offset"), message.get("count")
    if offset is None:
        offset = os.lseek(descriptor, 0, os.SEEK_CUR) if isinstance(file, int) else file.tell()
    left = max(0, os.fstat(descriptor).st_size - offset)
    ours = os.fdopen(os.dup(descriptor), "rb", buffering=0)
    return ours, offset, left if count is None else min(count, left)


def promised(request: Request, response: Response) -> float:
    """Return the most bytes that a body may have by its head; infinity for any number. The client gets no more."""
    if request.method == "HEAD" or response.status in BARE:
        return 0
    lengths = [value for name, value in response.headers if name.lower() == "content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdecimal() else math.inf  # what is no number is refused yet

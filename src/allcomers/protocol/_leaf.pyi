from collections.abc import Callable
from typing import Any

from allcomers.protocol.head import Fields, RequestHead
from allcomers.protocol.message import Response

KNOWN: list[bytes]

def read_head(
    buffer: bytes, max_head: int, max_headers: int, head: RequestHead, hosts: dict[bytes | None, str]
) -> int: ...
def split(lines: bytes) -> Fields: ...
def scope_headers(lines: bytes) -> Fields: ...
def add_to_environ(
    environ: dict[str, Any], lines: bytes, keys: dict[bytes, str], key_of: Callable[[bytes], str]
) -> None: ...
def plan(
    asked: tuple[str, str, int],
    response: Response,
    size: int,
    persists: bool,
    date: bytes,
    server: bytes,
    blocks: dict[tuple[tuple[str, str], ...], bytes],
    status_lines: dict[int, bytes],
) -> tuple[bytes, int, bool, bool] | None: ...

class Page:
    cells: memoryview[int]
    answers: int

    def __init__(self, cells: memoryview[int] | None = None) -> None: ...
    def add(self, slot: int, count: int = 1) -> None: ...
    def answered(self, status: int, seconds: float) -> None: ...
    def called(self, wait: float, app: float, count: int = 1) -> None: ...
    def turned(self, seconds: float) -> None: ...

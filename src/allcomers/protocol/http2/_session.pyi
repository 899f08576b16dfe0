from typing import Any

from allcomers.protocol.compiled import Head

class TableSlots: ...
class SessionSlots: ...
class BlockSlots: ...

class Http2Stream:
    sending: int
    receiving: int
    credit: int
    window: int
    held: int
    returned: int
    left: int | None
    def __init__(self, sending: int, receiving: int, window: int, left: int | None = None) -> None: ...

def read_requests(
    data: bytes,
    at: int,
    most: int,
    known: dict[bytes, Any],
    session: Any,
    events: list[Any],
    event: type,
    window: int,
) -> int: ...
def answer(queue: list[bytes], session: Any, stream: int, block: bytes, body: bytes) -> bool: ...
def copy_head(head: Head, request: Head) -> None: ...

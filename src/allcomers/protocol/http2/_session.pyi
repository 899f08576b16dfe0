from typing import Any

from allcomers.protocol.compiled import Head

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
    streams: dict[int, Any],
    events: list[Any],
    table: Any,
    event: type,
    window: int,
) -> int: ...
def answer(
    queue: list[bytes], streams: dict[int, Any], stream: int, block: bytes, body: bytes, room: int, peer_window: int
) -> bool: ...
def copy_head(head: Head, request: Head) -> None: ...

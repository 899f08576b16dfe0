from collections.abc import Callable, Iterable
from typing import Any

class RecordSlots: ...

def finish(record: Any, log: Callable[[Any], object], wall: Callable[[], float], now: float) -> bool: ...
def finish_all(
    records: Iterable[Any],
    peer: str,
    now: float,
    *,
    endpoint: Any,
    log: Any,
    wall: Callable[[], float],
    lost: Callable[[BaseException], None],
) -> None: ...

class LogLine:
    def __init__(self, template: str, names: Iterable[str], is_json: bool, otherwise: Callable[[Any], str]) -> None: ...
    def __call__(self, entry: Any) -> bytes: ...

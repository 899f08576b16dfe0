from collections.abc import Callable
from typing import Any

KNOWN: list[bytes]

def split(lines: bytes) -> list[tuple[bytes, bytes]]: ...
def scope_headers(lines: bytes) -> list[tuple[bytes, bytes]]: ...
def add_to_environ(
    environ: dict[str, Any], lines: bytes, keys: dict[bytes, str], key_of: Callable[[bytes], str]
) -> None: ...

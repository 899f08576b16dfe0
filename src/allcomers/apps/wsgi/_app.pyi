from collections.abc import Callable, Iterator
from typing import Any

from allcomers.protocol.message import Request, Response

class Common:
    def __init__(
        self,
        wsgi: Callable[[Request], Response],
        app: Callable[..., Any],
        templates: dict[Any, dict[str, Any]] | None,
        state: type,
        response: type[Response],
        keys: dict[bytes, str],
        key_of: Callable[[bytes], str],
        stream: Callable[[], object],
        files: type,
        iterate: Callable[[Any], Iterator[bytes]],
        first: Callable[[Iterator[bytes]], bytes],
        first_pieces: Callable[..., Any],
    ) -> None: ...
    def __call__(self, request: Request) -> Response: ...

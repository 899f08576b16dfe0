from collections.abc import Callable
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
    ) -> None: ...
    def __call__(self, request: Request) -> Response: ...

from typing import Any

from allcomers.connection.http.async_call import Asker
from allcomers.protocol.message import Request

class EagerCalls:
    def __init__(self, **parts: Any) -> None: ...
    def __call__(self, request: Request, asker: Asker) -> Any: ...

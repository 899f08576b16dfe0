from typing import Any

from allcomers.apps.asgi.http import HttpCall
from allcomers.connection.http.async_call import Asker
from allcomers.protocol.message import Request

class EagerCall:
    def hand_over(self) -> HttpCall: ...

class EagerCalls:
    def __init__(self, **parts: Any) -> None: ...
    def __call__(self, request: Request, asker: Asker) -> Any: ...

from typing import Any

class StreamSerializer:
    def __init__(self, **parts: Any) -> None: ...

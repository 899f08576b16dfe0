from typing import Any

class Serializer:
    def __init__(self, **parts: Any) -> None: ...

"""Echo: whatever bytes come in go out again. The smallest service there is; it has no framing and no state.

    allcomers run examples/echo.py:Echo -b 127.0.0.1:9000

Try it, and type something:

    nc 127.0.0.1 9000
"""

from __future__ import annotations

import allcomers


class Echo(allcomers.Service):
    def request(self, data: bytes) -> bytes:
        return data

"""Statistics over a length-prefixed protocol: JSON in, JSON out, four bytes of length (big endian) before each.

    allcomers run examples/lengths.py:Statistics -b 127.0.0.1:9000

Try it with its client:

    python3 examples/lengths_client.py 127.0.0.1:9000 mean 3 5 8 13

A request is {"op": "mean", "values": [3, 5, 8, 13]}, its response {"result": 7.25} or {"error": "the reason"}.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence

import allcomers

OPERATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "count": len,
    "sum": math.fsum,
    "min": min,
    "max": max,
    "mean": statistics.fmean,
    "median": statistics.median,
    "stdev": statistics.pstdev,
}
MAX_VALUES = 10_000


class RefusedError(Exception):
    """A request that is refused; the text is for the client."""


def compute(request: object) -> float:
    """Return the figure that `request` is for. Raises RefusedError."""
    if not isinstance(request, dict):
        raise RefusedError('send an object: {"op": "mean", "values": [1, 2]}')
    name = request.get("op")
    operation = OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        raise RefusedError(f"op is one of {', '.join(OPERATIONS)}")
    try:
        result = operation(numbers(request.get("values")))
    except OverflowError:
        raise RefusedError("the result is too large") from None
    if not math.isfinite(result):
        raise RefusedError("the result is too large")
    return result


def numbers(values: object) -> list[float]:
    if not isinstance(values, list) or not values or len(values) > MAX_VALUES:
        raise RefusedError(f"values is a list of 1 to {MAX_VALUES} numbers")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise RefusedError("each value is a number")
    floats = [float(value) for value in values]
    if not all(map(math.isfinite, floats)):
        raise RefusedError("each value is finite")
    return floats


class Statistics(allcomers.Service):
    framing = allcomers.LengthPrefixed(4)

    def request(self, data: bytes) -> bytes:
        try:
            reply: dict[str, object] = {"result": compute(json.loads(data))}
        except RefusedError as error:
            reply = {"error": str(error)}
        except (ValueError, RecursionError):
            reply = {"error": "that is not JSON in UTF-8"}
        return json.dumps(reply).encode()

"""The framing of responses: what comes back on one connection, cut into complete responses.

A response is a number: its status, plus CLOSES if none follows on this connection, plus DIFFERS if its body is not the
expected one; a TCP service's is 0. Malformed data is a Refusal, and so is what a TCP service should not have sent.
`_response_end.cut` does the common case, an HTTP response that is here completely, with the expected body; for all
else, and where nothing is compiled, `protocol.http1.Responses` does it.
"""

from __future__ import annotations

from typing import Final, Protocol

from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.record import DIFFERS
from allcomers.commands.load.run import response_end_compiled
from allcomers.config.limits import Limits
from allcomers.errors import Refusal
from allcomers.protocol.head import ResponseHead
from allcomers.protocol.http1 import Responses

CLOSES: Final = 1024
STATUS: Final = CLOSES - 1

LIMITS: Final = Limits(max_body=1 << 62)
"""The body of a response may have any size: it is discarded as it comes. A head has the server's own limits."""


class ResponseFraming(Protocol):
    """The responses of one connection, as they come."""

    def receive(self, data: bytes) -> list[int]:
        """Return the responses that `data` completes. Raises Refusal if it is malformed."""
        ...

    def receive_eof(self) -> list[int]:
        """Return the response that the end of the stream completes. Raises Refusal if it cuts one short."""
        ...


class ExpectedBody:
    """The body that each response is to have: these bytes, or so many. Pieces are compared as they come."""

    __slots__ = ("_at", "_expected", "_is_equal", "_size")

    def __init__(self, expected: bytes, size: int) -> None:
        self._expected = expected
        self._size = len(expected) or size
        self._at = 0
        self._is_equal = True

    def receive(self, piece: bytes) -> None:
        if self._expected and not self._expected.startswith(piece, self._at):
            self._is_equal = False
        self._at += len(piece)

    def end(self) -> int:
        """Return 0 if the body that ends here is the expected one, else DIFFERS. What follows is the next."""
        is_expected = self._is_equal and self._at == self._size
        self._at, self._is_equal = 0, True
        return 0 if is_expected else DIFFERS


def expected_body(plan: Plan) -> ExpectedBody | None:
    """Return the body that the plan expects; None if it accepts any."""
    return ExpectedBody(plan.expect, plan.expect_size) if plan.expect or plan.expect_size else None


class HttpResponseFraming:
    """The responses to requests of one plan."""

    __slots__ = ("_bodiless", "_body", "_expected", "_head", "_method", "_responses", "_size")

    def __init__(self, plan: Plan) -> None:
        self._method = method = plan.method
        self._expected, self._size = plan.expect, plan.expect_size
        self._body = expected_body(plan)
        self._bodiless = method == "HEAD"
        self._responses: Responses | None = None  # made for the first response that is not common
        self._head: ResponseHead | None = None  # of the response whose body is coming

    def receive(self, data: bytes) -> list[int]:
        found: list[int] = []
        if response_end_compiled.COMPILED and self._responses is None:
            size = response_end_compiled.cut(
                data, self._bodiless, LIMITS.max_head, LIMITS.max_headers, found, self._expected, self._size
            )
            if size == len(data):
                return found
            data = data[size:]
        if found and found[-1] & CLOSES:
            raise Refusal(400, "data after the last response")
        self._parse(data, found)
        return found

    def _parse(self, data: bytes, found: list[int]) -> None:
        responses = self._responses
        if responses is None:
            responses = self._responses = Responses(LIMITS)
        responses.feed(data)
        while True:
            if self._head is None:
                self._head = responses.head(self._method)
                if self._head is None:
                    break
            piece = responses.body()
            if self._body is not None and piece:
                self._body.receive(piece)
            if not responses.complete:
                return
            self._complete(found)
        if not responses.buffer:
            self._responses = None

    def _complete(self, found: list[int]) -> None:
        head, self._head = self._head, None
        assert head is not None
        if head.status < 200:
            if head.status == 101:
                raise Refusal(400, "the server switches to a protocol that was not requested")
            return
        if found and found[-1] & CLOSES:
            raise Refusal(400, "data after the last response")
        differs = self._body.end() if self._body is not None else 0
        found.append(head.status | differs | (0 if head.persists else CLOSES))

    def receive_eof(self) -> list[int]:
        responses = self._responses
        if responses is None:
            return []
        responses.end()
        found: list[int] = []
        if self._head is not None:
            self._complete(found)
        self._responses = None
        return found


class TcpResponseFraming:
    """The responses of a TCP service: given bytes, or a number of bytes."""

    __slots__ = ("_at", "_expected", "_size")

    def __init__(self, expected: bytes, size: int) -> None:
        self._expected = expected
        self._size = len(expected) or size
        self._at = 0  # bytes received of a response

    def receive(self, data: bytes) -> list[int]:
        if self._expected:
            self._compare(data)
        whole, self._at = divmod(self._at + len(data), self._size)
        return [0] * whole

    def _compare(self, data: bytes) -> None:
        repeats = (self._at + len(data)) // self._size + 1
        if not (self._expected * repeats).startswith(data, self._at):
            raise Refusal(400, "the response is not the one expected")

    def receive_eof(self) -> list[int]:
        if self._at:
            raise Refusal(400, "the connection ended in the middle of a response")
        return []


def response_framing(plan: Plan) -> ResponseFraming:
    """Return the framing for a new connection."""
    return TcpResponseFraming(plan.expect, plan.expect_size) if plan.is_raw else HttpResponseFraming(plan)

"""Header blocks of requests and responses, each read once.

A peer says the same head with the same bytes, as long as it adds nothing to the dynamic table: then those bytes mean
the same, and all that was made of them is kept under them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from allcomers.config.limits import Limits
from allcomers.errors import CompressionError, Http2Error, Refusal
from allcomers.protocol.head import Fields
from allcomers.protocol.hpack.decoder import Decoder
from allcomers.protocol.http2.frames import ErrorCode
from allcomers.protocol.http2.requests import RequestBlock, length_of, malformed, parse_request, parse_response

_MOST_KNOWN: Final = 64
_LARGEST_KNOWN: Final = 16 * 1024
"""Heads, and bytes of their fields, that are kept for one client."""


class RefusedHead(NamedTuple):
    """A head that is no request; `fault` is a Refusal, or the Http2Error of a malformed one."""

    fault: Refusal | Http2Error
    method: str


class ResponseBlock(NamedTuple):
    """A response's head, shared by all that have the same fields; `size` as RequestBlock has it."""

    status: int
    fields: Fields
    length: int | None
    size: int


class HeadReader:
    """Reads the header blocks of one peer.

    known, responses  heads by their blocks, for as long as these mean the same
    """

    __slots__ = ("_connect", "_decoder", "_known_size", "_limits", "known", "responses")

    def __init__(self, limits: Limits, connect: bool) -> None:
        self._limits = limits
        self._connect = connect
        self._decoder = Decoder()
        self.known: dict[bytes, RequestBlock] = {}
        self.responses: dict[bytes, ResponseBlock] = {}
        self._known_size = 0

    def fields(self, block: bytes) -> Fields | None:
        """Return the fields of a block; None where they are more than --max-head-size. Raises Http2Error: the
        connection's compression is broken."""
        decoder = self._decoder
        try:
            fields = decoder.decode(block, self._limits.max_head)
        except CompressionError as error:
            raise Http2Error(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        if decoder.changed:
            self.forget()
        return fields if decoder.size <= self._limits.max_head else None

    def request(self, block: bytes) -> RequestBlock | RefusedHead:
        """Return the head in a block that is not known. Raises Http2Error as fields()."""
        fields = self.fields(block)
        if fields is None:
            return RefusedHead(Refusal(431, f"the head is larger than {self._limits.max_head} bytes"), "")
        size = self._decoder.size
        try:
            head = parse_request(fields, size, self._limits.max_headers, self._connect)
            if head.length is not None and head.length > self._limits.max_body:
                raise Refusal(413, f"the body is larger than {self._limits.max_body} bytes")
        except (Refusal, Http2Error) as fault:
            methods = [value.decode("latin-1") for name, value in fields if name == b":method"]
            return RefusedHead(fault, methods[0] if methods else "")
        if self._may_keep(size):
            self.known[block] = head
        return head

    def response(self, block: bytes) -> ResponseBlock | RefusedHead:
        """Return the response's head in a block, known or not. Raises Http2Error as fields()."""
        head = self.responses.get(block)
        if head is not None:
            return head
        fields = self.fields(block)
        try:
            if fields is None:
                raise malformed(f"a head is larger than {self._limits.max_head} bytes")
            status, fields = parse_response(fields)
            head = ResponseBlock(status, fields, length_of(fields), self._decoder.size)
        except Http2Error as fault:
            return RefusedHead(fault, "")
        if self._may_keep(head.size):
            self.responses[block] = head
        return head

    def _may_keep(self, size: int) -> bool:
        """Return True if the block that was decoded last is to be kept, with so many bytes of fields; make room."""
        if self._decoder.changed or size > _LARGEST_KNOWN:
            return False
        if len(self.known) + len(self.responses) >= _MOST_KNOWN or self._known_size + size > _LARGEST_KNOWN:
            self.forget()
        self._known_size += size
        return True

    def forget(self) -> None:
        """Forget all heads: for an idle peer, they are memory."""
        self.known.clear()
        self.responses.clear()
        self._known_size = 0

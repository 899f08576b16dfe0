"""The rules for the fields of HTTP/2 messages, and the heads of requests that are made of them (RFC 9113, 8.2 and 8.3).

What is the same in all versions - targets, hosts, lengths, fields that may stand once - is decided by `head`: a request
is written as one of HTTP/1.1, and read by it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn

from allcomers.errors import Http2Error, Refusal
from allcomers.protocol import compiled
from allcomers.protocol import head as heads
from allcomers.protocol.fields import priority
from allcomers.protocol.head import Fields
from allcomers.protocol.http2.frames import ErrorCode
from allcomers.protocol.message import Request

if TYPE_CHECKING or compiled.COMPILED:
    from allcomers.protocol.http2 import _session as leaf

_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_CONNECT: Final = frozenset((*_PSEUDO, b":protocol"))  # RFC 8441, 4
HOP_BY_HOP: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Fields of a connection, which HTTP/2 has other means for (RFC 9113, 8.2.2)."""

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++")  # a token (RFC 9110, 5.6.2) in lower case
_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*+")  # RFC 3986, 3.1
_STATUS: Final = re.compile(rb"[1-5][0-9][0-9]")


def malformed(reason: str) -> Http2Error:
    """Return the error of a malformed message (RFC 9113, 8.1.1); its stream is the receiver's to add."""
    return Http2Error(ErrorCode.PROTOCOL_ERROR, reason)


if compiled.COMPILED and not TYPE_CHECKING:
    BlockSlots = leaf.BlockSlots
else:

    class BlockSlots:
        """The slots of a RequestBlock that the leaf uses."""

        __slots__ = ("head", "length", "protocol")

        head: Request
        length: int | None
        protocol: str


class RequestBlock(BlockSlots):
    """A request's head, checked, and all that was made of it: shared by all requests that have the same fields.

    head      the Request that all others are copies of
    size      bytes of its fields, as RFC 7541, 4.1 counts them
    length    Content-Length, or None
    scheme    as the client has it
    protocol  the protocol of an extended CONNECT (RFC 8441), or ""
    priority  (urgency, incremental) of RFC 9218; the default unless `has_priority`
    """

    __slots__ = ("has_priority", "priority", "scheme", "size")

    def __init__(self, head: Request, scheme: str, protocol: str, size: int) -> None:
        self.head = head
        self.length = head.length
        self.scheme = scheme
        self.protocol = protocol
        self.size = size
        value = head.value(b"priority")
        self.has_priority = value is not None
        self.priority = priority.DEFAULT if value is None else priority.parse(value)

    def request(self) -> Request:
        """Return a new Request with this head, as HTTP/1 makes one."""
        head = self.head
        request = Request.__new__(Request)
        if compiled.COMPILED and head.lines is not None:
            leaf.copy_head(head, request)
            return request
        request.method = head.method
        request.target = head.target
        request.host = head.host
        request.version = "2"
        request.length = head.length
        request.expects = head.expects
        request.persists = True
        if head.lines is not None:
            request.lines = head.lines
        else:
            request.fields = head.fields[:]
            request.named = head.named.copy()
        return request


# ---------------------------------------------------------------- fields


def check_fields(fields: Fields) -> None:
    """Refuse fields, without pseudo-fields, that no message may have (RFC 9113, 8.2). Raises Http2Error."""
    for name, value in fields:
        if _NAME.fullmatch(name) is None:
            raise malformed("the name of a field is no token in lower case")
        if _VALUE.fullmatch(value) is None:
            raise malformed("the value of a field has a control character, or white space around it")
        if name in HOP_BY_HOP:
            raise malformed(f"{name.decode('ascii')} is a field of HTTP/1 alone")
        if name == b"te" and value.lower() != b"trailers":
            raise malformed("TE is not trailers")


def check_trailers(fields: Fields) -> Fields:
    """Return the fields after a body, but for names with an underscore. Raises Http2Error."""
    check_fields(fields)  # a pseudo-field's name is no token
    return [field for field in fields if b"_" not in field[0]]


def _split(fields: Fields, known: frozenset[bytes]) -> tuple[dict[bytes, bytes], Fields]:
    """Return (the pseudo-fields, the others), which are in this order, and the former each once (RFC 9113, 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    for count, (name, value) in enumerate(fields):
        if not name.startswith(b":"):
            return pseudo, fields[count:]
        if name not in known or name in pseudo:
            raise malformed("a pseudo-field is unknown, or stands twice")
        pseudo[name] = value
    return pseudo, []


# ---------------------------------------------------------------- a request


def parse_request(fields: Fields, size: int, max_headers: int, connect: bool) -> RequestBlock:
    """Return the head of a request with these fields.

    connect  an extended CONNECT was offered (RFC 8441)

    Raises Http2Error for a malformed one, and Refusal: 413, 417, 431, 501.
    """
    pseudo, others = _split(fields, _CONNECT if connect else _PSEUDO)
    check_fields(others)
    others = _with_one_cookie(others)
    if len(others) > max_headers:
        raise Refusal(431, f"more than {max_headers} fields")
    method, protocol = pseudo.get(b":method"), pseudo.get(b":protocol", b"")
    if method is None:
        raise malformed("a request has no :method")
    if method == b"CONNECT" and not protocol:
        _refuse_connect(pseudo)
    elif b":scheme" not in pseudo or b":path" not in pseudo:
        raise malformed("a request has no :scheme or no :path")
    if protocol and (method != b"CONNECT" or b":authority" not in pseudo or _NAME.fullmatch(protocol.lower()) is None):
        raise malformed("a :protocol without CONNECT and :authority, or none that is known")
    scheme, path = pseudo[b":scheme"], pseudo[b":path"]
    if _SCHEME.fullmatch(scheme) is None:
        raise malformed("the :scheme is none")
    if not path.startswith(b"/") and path != b"*":
        raise malformed("the :path is in none of the forms that HTTP/2 knows")
    head = _head(b"GET" if protocol else method, path, _with_host(others, pseudo.get(b":authority")), max_headers + 1)
    if protocol:
        head.method = "CONNECT"
    return RequestBlock(head, scheme.decode("ascii").lower(), protocol.decode("ascii").lower(), size)


def _refuse_connect(pseudo: dict[bytes, bytes]) -> NoReturn:
    """Refuse a CONNECT, malformed or not (RFC 9113, 8.5)."""
    if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
        raise malformed("a CONNECT has :authority alone")
    raise Refusal(501, "CONNECT is not implemented here")


def _with_one_cookie(fields: Fields) -> Fields:
    """Join the cookies, which a client may have split to compress them better (RFC 9113, 8.2.3)."""
    cookies = [value for name, value in fields if name == b"cookie"]
    if len(cookies) < 2:
        return fields
    return [*(field for field in fields if field[0] != b"cookie"), (b"cookie", b"; ".join(cookies))]


def _with_host(fields: Fields, authority: bytes | None) -> Fields:
    """Put the authority in front as Host, which a client gives in either way or both (RFC 9113, 8.3.1)."""
    hosts = [value for name, value in fields if name == b"host"]
    if authority is None:
        return fields
    if any(host.lower() != authority.lower() for host in hosts):
        raise malformed("Host differs from :authority")
    return [(b"host", authority), *(field for field in fields if field[0] != b"host")]


def _head(method: bytes, path: bytes, fields: Fields, max_headers: int) -> Request:
    """Return the head of the HTTP/1.1 request that has these parts. Its fields are one line each: they were checked."""
    if method.find(b" ") >= 0 or path.find(b" ") >= 0 or b"\n" in method or b"\n" in path:
        raise malformed("the :method or the :path has white space")
    lines = b"".join([b"%b:%b\r\n" % field for field in fields])
    block = b"%b %b HTTP/1.1\r\n%b" % (method, path, lines)
    head = Request.__new__(Request)
    try:
        if not compiled.COMPILED or not _read_common(block + b"\r\n", fields, max_headers, head):
            heads.parse_request(block, max_headers, head)
    except Refusal as refusal:
        if refusal.status == 400:
            raise malformed(refusal.reason) from None
        raise
    return head


def _read_common(block: bytes, fields: Fields, max_headers: int, head: Request) -> int:
    """Read a head with the compiled leaf, as http1 does. Return 0 where it leaves it to the plain Python."""
    if fields and fields[0][0] == b"host" and fields[0][1] not in heads.known_hosts:
        heads.authority_of(fields[0][1])  # the leaf reads nothing with a host that was not checked before
    return compiled.read_head(block, len(block), max_headers, head, heads.known_hosts)


# ---------------------------------------------------------------- a response, at a client


def parse_response(fields: Fields) -> tuple[int, Fields]:
    """Return (status, the other fields) of a response. Raises Http2Error: it is malformed (RFC 9113, 8.3.2)."""
    pseudo, others = _split(fields, frozenset((b":status",)))
    check_fields(others)
    status = pseudo.get(b":status", b"")
    if _STATUS.fullmatch(status) is None or status == b"101":  # RFC 9113, 8.6
        raise malformed("the :status is none")
    return int(status), others


def length_of(fields: Fields) -> int | None:
    """Return the Content-Length of a response; None for none. Raises Http2Error: it is malformed."""
    lengths = {value for name, value in fields if name == b"content-length"}
    if not lengths:
        return None
    value = lengths.pop()
    if lengths or re.fullmatch(rb"[0-9]{1,18}", value) is None:
        raise malformed("Content-Length is not a number")
    return int(value)

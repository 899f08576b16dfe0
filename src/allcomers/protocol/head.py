"""Heads read: the request line or status line and the fields below it, from bytes to values (RFC 9112, 2 to 6).

A server that guesses gets smuggled through, so nothing is guessed: what the grammar does not allow is a Refusal.
The parse is one regular expression for the first line and one `findall` for all fields; a field becomes an object
of its own only when an app reads it. The patterns are possessive (`++`): they cannot backtrack, whatever is sent.

This file parses one whole head at a time; `http1` finds where a head ends in the stream. `encode` writes heads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NoReturn, TypeAlias, TypeVar

from allcomers.errors import Refusal
from allcomers.protocol import compiled

Head = TypeVar("Head", bound="RequestHead")
K = TypeVar("K")
V = TypeVar("V")

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110, 5.6.2
_VALUE = rb"[\t\x20-\x7e\x80-\xff]"  # RFC 9110, 5.5: anything but control bytes

_REQUEST_LINE = re.compile(rb"(%b++) ([\x21-\x7e]++) HTTP/1\.([01])\r\n" % TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: (%b*+))?\r\n" % _VALUE)
_FIELD = re.compile(rb"\n(%b++):[ \t]*+([^\r]*+)\r(?=\n)" % TOKEN)
_CONTROLS = bytes(0 if (byte < 32 and byte not in b"\t\r\n") or byte == 127 else 1 for byte in range(256))
_DIGITS = re.compile(rb"[0-9]++")

QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'  # RFC 9110, 5.6.4
_CODING = rb"(%b++)(?:[ \t]*+;[ \t]*+%b++[ \t]*+=[ \t]*+(?:%b++|%b))*+" % (TOKEN, TOKEN, TOKEN, QUOTED)  # RFC 9112, 7
_NEXT_CODING = re.compile(_CODING + rb"(?:[ \t]*+,[ \t]*+|\Z)")

# uri-host [ ":" port ] of RFC 3986, 3.2.2, less the comma: it would let two hosts pass for one. The name is not empty
# (RFC 9110, 4.2.1); the port may be.
_REG_NAME = rb"(?:[0-9A-Za-z\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})++"
_HOST = re.compile(rb"(?:%b|\[([0-9A-Fa-f:.]++)\])(?::0*+([0-9]{0,5}+))?" % _REG_NAME)
_ABSOLUTE = re.compile(rb"https?+://([^/?#]*+)([^#]*+)", re.IGNORECASE)

known_hosts: dict[bytes | None, str] = {}
_connections: dict[bytes, frozenset[bytes]] = {}
_MOST_KNOWN = 1024
LONGEST_KNOWN = 200

Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Field lines in their order: names as sent, values with optional trailing white space."""

MOST_METHOD = 64
"""Bytes of a method: no registered one has more than 17 (RFC 9110, 9.1), so a longer one is not implemented."""

_LONG_METHOD = re.compile(rb"%b{%d}" % (TOKEN, MOST_METHOD + 1))

_ONCE = (b"host", b"content-length", b"transfer-encoding", b"expect", b"content-type", b"authorization")
"""Fields that a request may have once: of two, a proxy may go by one and an app by the other, equal or not (nginx
refuses the same)."""

_ONCE_IN_RESPONSE = (b"content-length", b"transfer-encoding")

_MOST_DIGITS = 19  # 2**63 has 19: more is no length that anything could hold


def remember(memory: dict[K, V], key: K, value: V) -> None:
    """Keep `value` in `memory`; a full memory is emptied first, so that it cannot grow."""
    if len(memory) >= _MOST_KNOWN:
        memory.clear()
    memory[key] = value


BARE = frozenset((204, 205, 304))
"""Final statuses of responses without a body, whatever an app gives (RFC 9112, 6.3, rule 1; RFC 9110, 15.3.6)."""


class Headers(Mapping[str, str]):
    """The fields of a message: names without regard to case, values as str (Latin-1, RFC 9110 section 5.5).

    `headers["accept"]` joins the values of repeated fields with ", " (section 5.3); `all(name)` lists them.
    """

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.strip(b" \t").decode("latin-1"))

    def __getitem__(self, name: str) -> str:
        values = self._values[name.lower()]
        return ("; " if name.lower() == "cookie" else ", ").join(values)  # RFC 6265 joins cookies with ";"

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"

    def all(self, name: str) -> list[str]:
        """Return the values of the fields called `name`, in their order; empty where there is none."""
        return list(self._values.get(name.lower(), ()))


class RequestHead(compiled.Head):
    """A request's head, checked.

    method   str: any token (RFC 9110, 9.1)
    target   str: origin form, or "*"; of an absolute form, what follows the authority
    host     str: the authority, of the absolute form or of Host; "" where HTTP/1.0 sent none. With an absolute form,
             the Host of `fields` is that of the target, too (RFC 9112, 3.2.2)
    version  str: "1.0" or "1.1"
    fields   list of (name, value) as bytes: names as sent, values with optional trailing white space
    named    dict of lower-case name to value: for one that repeats, the last
    length   int or None: Content-Length
    chunked  bool: the body is in chunks
    persists bool: the client lets the connection stay open (RFC 9112, 9.3)
    expects  bool: the client waits for 100 Continue before it sends the body (RFC 9110, 10.1.1)
    upgrades bool: there is an Upgrade field (RFC 9110, 7.8)
    lines    the field lines as received, where the compiled leaf has read the head: `fields` and `named` are made of
             them at their first use; else None
    content  the body, where it is short and came whole with the head; else None
    """

    @cached_property
    def fields(self) -> Fields:
        return [] if self.lines is None else compiled.split(self.lines)

    @cached_property
    def named(self) -> dict[bytes, bytes]:
        return {name.lower(): value for name, value in self.fields}

    def values(self, names: tuple[bytes, ...]) -> tuple[bytes | None, ...] | None:
        """Return the value in `named` of each of `names`, without white space around it; None where one of these may
        repeat."""
        if self.lines is not None:
            return compiled.values_of(self.lines, names)
        named = self.named
        if len(named) < len(self.fields):
            return None
        return tuple([named[name].rstrip(b" \t") if name in named else None for name in names])

    def value(self, name: bytes) -> bytes | None:
        """Return the value in `named` of this name, without white space around it; None for none."""
        values = self.values((name,))
        if values is not None:
            return values[0]
        return self.named[name].rstrip(b" \t") if name in self.named else None


class ResponseHead:
    """A response's head: the client role of the same framing.

    status int; reason bytes; the rest as in RequestHead.
    """

    status: int
    reason: bytes
    version: str
    fields: Fields
    named: dict[bytes, bytes]
    length: int | None = None
    chunked: bool = False
    persists: bool


# ---------------------------------------------------------------- reading a request


def parse_request(block: bytes, max_headers: int, head: Head) -> Head:
    """Fill `head` from `block`: from the first line through the CRLF of the last field, without the empty line.

    Raises Refusal: 400, 413, 417, 431, 501, 505.
    """
    line = _REQUEST_LINE.match(block)
    if line is None:
        refuse_request_line(block)
    method, target, minor = line.groups()
    if len(method) > MOST_METHOD:
        check_method(method)
    head.method = method.decode("ascii")
    head.version = version = "1.1" if minor == b"1" else "1.0"
    head.fields, head.named = fields, named = parse_fields(block, line.end(), max_headers)
    if len(named) < len(fields):
        _check_doubles(head, _ONCE)
    host = named.get(b"host")
    head.host = known_hosts.get(host) or _host(host, version)
    # PERF: find() and not `in`, which tries its operand as a number first and raises: 3,000 instructions (callgrind).
    if target.startswith(b"/") and target.find(b"#") < 0 and method != b"CONNECT":
        head.target = target.decode("ascii")
    else:
        _other_target(head, target)
    if b"content-length" in named or b"transfer-encoding" in named:
        _framing(head)
    head.persists = _persists(named[b"connection"], version) if b"connection" in named else version == "1.1"
    if b"expect" in named:
        head.expects = _expects(head)
    if b"upgrade" in named:
        head.upgrades = True
    return head


def check_method(block: bytes) -> None:
    """Refuse a method that is longer than any that exists (RFC 9112, 3); `block` begins with it, and may be partial."""
    if _LONG_METHOD.match(block) is not None:
        raise Refusal(501, f"a method of more than {MOST_METHOD} bytes is not implemented here")


def check_request_line(block: bytes) -> None:
    """Refuse a first line that can never begin a request; `block` holds it with its CRLF."""
    if _REQUEST_LINE.match(block) is None:
        refuse_request_line(block)


def refuse_request_line(block: bytes) -> NoReturn:
    """Raise the Refusal of a first line that does not match: for its first fault from left to right."""
    line = block.partition(b"\r\n")[0]
    method, _, rest = line.partition(b" ")
    target, _, version = rest.partition(b" ")
    if re.fullmatch(rb"%b++" % TOKEN, method) is None:
        raise Refusal(400, "the method is not a token")
    if re.fullmatch(rb"[\x21-\x7e]++", target) is None:
        raise Refusal(400, "the target is empty or has a byte that must be percent-encoded")
    if target == b"*" and method != b"OPTIONS":
        raise Refusal(400, "only OPTIONS may have the target *")
    if re.fullmatch(rb"HTTP/[0-9]\.[0-9]", version) is None:
        raise Refusal(400, "the version is not HTTP/ and two digits with a dot")
    raise Refusal(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")


def parse_fields(block: bytes, begin: int, most: int) -> tuple[Fields, dict[bytes, bytes]]:
    """Return the field lines of `block` from `begin` on, after a LF: a list in order, and a dict of lower-case names.

    One pass splits and checks: a match begins with the LF before its line and ends with its own CR, so as many matches
    as there are LFs mean that nothing lies between them. A name with an underscore is dropped, as nginx does: in a
    WSGI environ, X_Forwarded_For would be X-Forwarded-For.
    """
    fields = _FIELD.findall(block, begin - 1)
    lines = block.count(b"\n", begin)
    # PERF: one search for control bytes in all values; in the pattern they cost twice as much (callgrind).
    if len(fields) != lines or block.translate(_CONTROLS).find(0, begin) >= 0:
        raise Refusal(400, "a header line is malformed")
    if lines > most:
        raise Refusal(431, f"more than {most} header lines")
    if block.find(b"_", begin) >= 0:
        fields = [field for field in fields if field[0].find(b"_") < 0]
    return fields, {name.lower(): value for name, value in fields}


def _check_doubles(head: RequestHead | ResponseHead, once: Iterable[bytes]) -> None:
    """Refuse a doubled field of those that may stand `once`; join several Connection lines."""
    seen = [name.lower() for name, _ in head.fields]
    for name in once:
        if seen.count(name) > 1:
            raise Refusal(400, f"{name.decode('ascii')} stands more than once")
    if seen.count(b"connection") > 1:
        head.named[b"connection"] = b",".join(v for n, v in head.fields if n.lower() == b"connection")


def _host(value: bytes | None, version: str) -> str:
    if value is None:
        if version != "1.0":
            raise Refusal(400, "Host is missing")
        return ""
    return authority_of(value)


def authority_of(value: bytes) -> str:
    """Return the authority in `value`, checked; a server has few, so they are remembered. Raises Refusal (400)."""
    authority = _check_authority(value.rstrip(b" \t"))
    if len(value) <= LONGEST_KNOWN:
        remember(known_hosts, value, authority)
    return authority


def _check_authority(value: bytes) -> str:
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or 0) > 65535 or not (match[1] is None or _is_ipv6(match[1])):
        raise Refusal(400, "the host is not a name or address with an optional port")
    return value.decode("ascii")


def _is_ipv6(text: bytes) -> bool:
    """Return True for an IPv6 address: what else RFC 3986, 3.2.2 allows in brackets, IPvFuture, nobody has defined."""
    from ipaddress import IPv6Address  # late: it takes 3 ms, and few hosts are such

    try:
        IPv6Address(text.decode("ascii"))
    except ValueError:
        return False
    return True


def _other_target(head: RequestHead, target: bytes) -> None:
    """Parse a target in a form of RFC 9112, 3.2, other than the origin form."""
    if head.method == "CONNECT":
        raise Refusal(501, "CONNECT is not implemented here")
    if target == b"*" and head.method == "OPTIONS":
        head.target = "*"
        return
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Refusal(400, "the target is in none of the forms that HTTP knows")
    head.host = authority_of(match[1])
    _replace_host(head, match[1])
    rest = match[2].decode("ascii")
    if not rest and head.method == "OPTIONS":
        head.target = "*"  # RFC 9112, 3.2.4
    else:
        head.target = rest if rest.startswith("/") else "/" + rest


def _replace_host(head: RequestHead, host: bytes) -> None:
    """Put the target's authority in the place of Host, so that nobody goes by the other one (RFC 9112, 3.2.2)."""
    fields = [(name, host if name.lower() == b"host" else value) for name, value in head.fields]
    head.fields = fields if b"host" in head.named else [(b"Host", host), *fields]
    head.named[b"host"] = host


def _framing(head: RequestHead | ResponseHead) -> None:
    """Parse the length of the body as in RFC 9112, 6.3, without any of its repairs."""
    named = head.named
    if b"transfer-encoding" in named:
        if b"content-length" in named:
            raise Refusal(400, "both Content-Length and Transfer-Encoding")
        if head.version == "1.0":
            raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
        _check_codings(named[b"transfer-encoding"].rstrip(b" \t").lower())
        head.chunked = True
    elif b"content-length" in named:
        value = named[b"content-length"].rstrip(b" \t")
        if _DIGITS.fullmatch(value) is None:
            raise Refusal(400, "Content-Length is not a number")
        digits = value.lstrip(b"0")  # int() has a limit of its own, and counts zeros (sys.set_int_max_str_digits)
        if len(digits) >= _MOST_DIGITS:
            raise Refusal(413, "Content-Length is beyond any size")
        head.length = int(digits or b"0")


def _check_codings(value: bytes) -> None:
    if value == b"chunked":
        return
    codings = []
    at = 0
    while coding := _NEXT_CODING.match(value, at):
        codings.append(coding[1])
        at = coding.end()
    if at < len(value) or not codings or value.endswith(b","):
        raise Refusal(400, "Transfer-Encoding is malformed")
    if codings[-1] != b"chunked" or b"chunked" in codings[:-1]:  # RFC 9112, 6.3, rule 4: the body has no end
        raise Refusal(400, "chunked must be the last transfer coding, and only once")
    if len(codings) == 1:
        raise Refusal(400, "chunked has no parameters")  # RFC 9112, 7.1
    raise Refusal(501, "the only transfer coding known here is chunked")


def _persists(value: bytes, version: str) -> bool:
    options = _connections.get(value)
    if options is None:
        options = frozenset(option.strip(b" \t") for option in value.lower().split(b","))
        if len(value) <= LONGEST_KNOWN:
            remember(_connections, value, options)
    return b"close" not in options and (version == "1.1" or b"keep-alive" in options)


def _expects(head: RequestHead) -> bool:
    if head.named[b"expect"].rstrip(b" \t").lower() != b"100-continue":
        raise Refusal(417, "the only expectation known here is 100-continue")
    return head.version == "1.1"  # RFC 9110, 10.1.1: ignored in HTTP/1.0


# ---------------------------------------------------------------- reading a response


def parse_response(block: bytes, max_headers: int) -> ResponseHead:
    """Return the head in `block`, for the client role. Raises Refusal: the server's head is malformed."""
    line = check_status_line(block)
    head = ResponseHead()
    minor, status, reason = line.groups()
    head.version, head.status, head.reason = "1.1" if minor == b"1" else "1.0", int(status), reason or b""
    head.fields, head.named = parse_fields(block, line.end(), max_headers)
    if len(head.named) < len(head.fields):
        _check_doubles(head, _ONCE_IN_RESPONSE)
    _framing(head)
    connection = head.named.get(b"connection")
    head.persists = head.version == "1.1" if connection is None else _persists(connection, head.version)
    return head


def check_status_line(block: bytes) -> re.Match[bytes]:
    """Return the match of the status line at the start of `block`. Raises Refusal (502): it is malformed."""
    line = _STATUS_LINE.match(block)
    if line is None:
        raise Refusal(502, "the status line is malformed")
    return line

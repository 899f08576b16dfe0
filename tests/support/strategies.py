"""What hypothesis draws: streams of requests, whole and damaged."""

from __future__ import annotations

from hypothesis import strategies as st

from support.streams import cut

TOKEN = st.text("!#$%&'*+-.^`|~019AZaz", min_size=1, max_size=6).map(str.encode)


VALUE = st.text('\t !"~:,;=é()xyz09', max_size=10).map(lambda text: text.encode("latin-1"))


FIELDS = st.lists(st.tuples(TOKEN.map(lambda name: b"x-" + name), VALUE), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A valid request, of every kind."""
    fields = b"".join(b"%b: %b\r\n" % field for field in draw(FIELDS))
    target = b"/" + draw(st.text("abc/?%20-_.", max_size=8)).encode()
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"x-y"]))
    head = b"\r\n" * draw(st.integers(0, 1)) + b"%b %b HTTP/1.1\r\nHost: a\r\n%b" % (method, target, fields)
    body = draw(st.binary(max_size=30))
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "none":
        return head + b"\r\n"
    if kind == "length":
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    pieces = cut(body, draw(st.lists(st.integers(0, 30), max_size=3)))
    extension = draw(st.sampled_from([b"", b";a", b';a="b c"']))
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    trailers = b"".join(b"%b: %b\r\n" % field for field in draw(FIELDS))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n"


NASTY = st.sampled_from([0, 9, 10, 11, 13, 32, 48, 58, 59, 44, 127, 128, 255]) | st.integers(0, 255)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A stream of requests with a few bytes changed, added or taken away."""
    data = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["change", "insert", "delete", "swap"]))
        if kind == "insert":
            data.insert(at, draw(NASTY))
        elif data and kind == "change":
            data[at] = draw(NASTY)
        elif data and kind == "delete":
            del data[at]
        elif at + 1 < len(data):
            data[at], data[at + 1] = data[at + 1], data[at]
    return bytes(data)


_token = st.text("!#$%&'*+-.^_`|~0189AZaz", min_size=1, max_size=20).map(str.encode)


_name = st.sampled_from([
    b"Host", b"HOST", b"Connection", b"connection", b"Content-Length", b"content-length", b"Transfer-Encoding", b"TE",
    b"Expect", b"Upgrade", b"Cookie", b"cookie", b"Accept", b"X_Forwarded_For", b"Proxy", b"Content-Type", b"Accept",
    b"User-Agent", b"sec-ch-ua", b"X-Y",
]) | _token  # fmt: skip


_value = st.sampled_from([
    b"", b" ", b"1", b"a", b"example.org", b"keep-alive", b"Keep-Alive ", b"close", b"close, x", b"chunked",
    b"Chunked\t", b"gzip, chunked", b"0", b"007", b"5", b"-5", b"5, 5", b"1" * 18, b"1" * 19, b"100-continue",
    b"websocket", b"1" * 300,
]) | st.binary(max_size=40).map(lambda value: bytes(b for b in value if b == 9 or 32 <= b != 127))  # fmt: skip


@st.composite
def heads_of_requests(draw: st.DrawFn) -> bytes:
    """Heads that are mostly well-formed, each with what decides most often."""
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"connect"]) | _token)
    target = draw(st.sampled_from([b"/", b"/a?b=c", b"*", b"http://a/b", b"/#a", b"/%20%zz", b"//", b"", b"/\xe4"]))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1"]))
    first = draw(st.sampled_from([b"Host: a\r\n"] * 4 + [b"Host:  example.org:8000 \t\r\n", b""]))
    space = st.sampled_from([b" ", b"", b"\t", b"  "])
    lines = draw(st.lists(st.tuples(_name, space, _value), max_size=6))
    fields = b"".join(b"%b:%b%b\r\n" % line for line in lines)
    return b"%b %b %b\r\n%b%b\r\n" % (method, target, version, first, fields)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(heads_of_requests()) * draw(st.integers(1, 2)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 2))] = bytes(draw(st.lists(NASTY | st.integers(0, 255), max_size=2)))
        if not data:
            break
    return bytes(data)


_ENDS = [b"0\r\n\r\n"] * 6 + [b"000\r\n\r\n", b"0;a\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\n", b"", b"x", b"\r\n"]


@st.composite
def bodies_in_chunks(draw: st.DrawFn) -> bytes:
    """Bodies in chunks, some of them uncommon, damaged or not whole."""
    coded = b""
    for size in draw(st.lists(st.sampled_from([1, 9, 10, 171, 1000, 4096, 5000]), max_size=4)):
        line = draw(st.sampled_from(["%x", "%x", "%X", "000%x", "%x;a=b", "0000000%x"])) % size
        coded += line.encode() + b"\r\n" + (b"0123456789" * 500)[:size] + b"\r\n"
    coded += draw(st.sampled_from(_ENDS))
    if draw(st.sampled_from([True, False, False])) and coded:
        at = draw(st.integers(0, len(coded) - 1) | st.integers(max(0, len(coded) - 8), len(coded) - 1))
        coded = coded[:at] + draw(st.sampled_from([b"", b"\r", b"\n", b"a", b"g", b"\r\n"])) + coded[at + 1 :]
    return coded

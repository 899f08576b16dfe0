"""The PROXY header: valid ones and refused ones, however the bytes come."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.errors import PeerError
from allcomers.protocol.proxy.proxy_header import MOST_1, MOST_2, Header, parse

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + (56324).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("::").packed + b"\x00\x50\x01\xbb"
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
LONGEST = (
    b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
)


def binary(command: int, kind: int, block: bytes = b"", length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + bytes([command, kind]) + size.to_bytes(2, "big") + block


TAKEN = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", ("192.0.2.1", 56324)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ("0.0.0.0", 0)),
    (b"PROXY TCP6 2001:DB8::1 :: 80 443\r\n", ("2001:db8::1", 80)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 80 443\r\n", ("192.0.2.1", 80)),
    (b"PROXY TCP6 %b %b 65535 65535\r\n" % (b":".join([b"ffff"] * 8), b":".join([b"ffff"] * 8)),
     (":".join(["ffff"] * 8), 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN what so ever\r\n", None),
    (LONGEST, None),
    (binary(0x20, 0x00), None),
    (binary(0x20, 0xFF, b"\xff" * 40), None),  # LOCAL: the rest is not looked at
    (binary(0x21, 0x00, b"\xff" * 7), None),
    (binary(0x21, 0x10, V4), None),  # no transport: nobody knows what the addresses are
    (binary(0x21, 0x11, V4), ("192.0.2.1", 56324)),
    (binary(0x21, 0x12, V4), ("192.0.2.1", 56324)),  # a client of HTTP/3, by UDP
    (binary(0x21, 0x11, V4 + b"\x04\x00\x01\x00" + b"\xee" * 300), ("192.0.2.1", 56324)),
    (binary(0x21, 0x21, V6), ("2001:db8::1", 80)),
    (binary(0x21, 0x31, UNIX), ("", 0)),
    (binary(0x21, 0x11, V4.ljust(MOST_2 - 16, b"\0")), ("192.0.2.1", 56324)),
]  # fmt: skip

REFUSED = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\n",
    b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
    b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP6 ::1%lo ::1 1 2\r\n",
    b"PROXY TCP6 ::1 :::1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY UNKNOWN \n\r\n",
    b"PROXY UNKNOWN \r \r\n",
    b"PROXY UNKNOWN " + b"x" * (MOST_1 - 15) + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * 10_000,
    b"\r\n\r\n\0\r\nQUIT ",
    SIGNATURE + b"\x01",
    SIGNATURE + b"\x10",
    SIGNATURE + b"\x31",
    SIGNATURE + b"\x22",
    binary(0x21, 0x41, V6),
    binary(0x21, 0x13, V4),
    binary(0x21, 0x11, V4[:-1]),
    binary(0x21, 0x21, V6[:-1]),
    binary(0x21, 0x31, UNIX[:-1]),
    binary(0x21, 0x11, length=MOST_2 - 15),
    binary(0x20, 0x00, length=65535),
]


@pytest.mark.parametrize(("data", "address"), TAKEN)
def test_what_is_taken(data: bytes, address: tuple[str, int] | None) -> None:
    for rest in (b"", b"GET / HTTP/1.1\r\n", data, b"\xff" * 5000):
        assert parse(data + rest) == Header(len(data), address)
    for end in range(len(data)):
        assert parse(data[:end]) is None


@pytest.mark.parametrize("data", REFUSED)
def test_what_is_refused_as_soon_as_it_can_be_told(data: bytes) -> None:
    with pytest.raises(PeerError):
        parse(data)
    ends = [end for end in range(len(data) + 1) if _is_refused(data[:end])]
    assert ends == list(range(ends[0], len(data) + 1))  # and stays so


def _is_refused(data: bytes) -> bool:
    try:
        parse(data)
    except PeerError:
        return True
    return False


def test_a_line_may_be_as_long_as_the_specification_has_it() -> None:
    assert len(LONGEST) == MOST_1


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: b"PROXY " + data + b"\r\n"))
def test_any_bytes_are_a_header_or_refused_or_a_beginning(data: bytes) -> None:
    _check(data)


@given(
    command=st.integers(0, 255), kind=st.integers(0, 255), length=st.integers(0, 65535), block=st.binary(max_size=300)
)
def test_any_binary_header_is_one_or_refused_or_a_beginning(command: int, kind: int, length: int, block: bytes) -> None:
    _check(binary(command, kind, block, length))
    _check(binary(command, kind, block))
    _check(binary(0x21, kind, block))


def _check(data: bytes) -> None:
    """Check a result that more bytes do not change, a valid address, and a bound on the wait."""
    try:
        header = parse(data)
    except PeerError:
        assert _is_refused(data + b"more")
        return
    if header is None:
        assert len(data) < (MOST_2 if data.startswith(SIGNATURE) else MOST_1)
        return
    assert header.size <= len(data)
    assert parse(data + b"more") == header
    if header.address is not None and header.address != ("", 0):
        host, port = header.address
        assert str(ipaddress.ip_address(host)) == host
        assert 0 <= port < 65536


@given(st.ip_addresses(v=4), st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535))
def test_addresses_come_back_as_they_went(four: ipaddress.IPv4Address, any_: object, port: int, other: int) -> None:
    assert parse(b"PROXY TCP4 %b %b %d %d\r\n" % (str(four).encode(), str(four).encode(), port, other)) == Header(
        len(f"PROXY TCP4 {four} {four} {port} {other}\r\n"), (str(four), port)
    )
    ip = ipaddress.ip_address(str(any_))
    block = ip.packed * 2 + port.to_bytes(2, "big") + other.to_bytes(2, "big")
    header = parse(binary(0x21, 0x11 if ip.version == 4 else 0x21, block))
    plain = ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
    assert header == Header(16 + len(block), (str(plain), port))

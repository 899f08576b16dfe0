"""The protocols that a TLS client offers, read from real ClientHellos: whole, byte by byte, in any records."""

from __future__ import annotations

import ssl

import pytest

from allcomers.protocol.tls.client_hello import LONGEST, MOST_RECORDS, offered


def hello(*protocols: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, name: str = "localhost") -> bytes:
    """Return the first bytes of OpenSSL's client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = context.wrap_bio(received, sent, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        engine.do_handshake()
    return sent.read()


def in_records(data: bytes, size: int) -> bytes:
    """Return the message of one record in many, each with `size` bytes of it."""
    message = data[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("protocols", [(), ("h2",), ("h2", "http/1.1"), ("x" * 255, "y")])
def test_what_a_client_offers(version: ssl.TLSVersion, protocols: tuple[str, ...]) -> None:
    data = hello(*protocols, version=version)
    names = [name.encode() for name in protocols]
    for whole in (
        data,
        data + b"more",
        in_records(data, len(data) // MOST_RECORDS + 1),
        in_records(data, len(data) - 6),
    ):
        assert offered(whole) == names
    for size in range(1, len(data)):
        assert offered(data[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x80\x2e\x01\x03\x01",  # SSL 2
        b"\x15\x03\x01\0\x02\x02\x78",  # an alert
        b"\x16\x03\x01\0\x01\x02",  # a ServerHello
        b"\x16\x03\x01\0\x04\x01\xff\xff\xff",  # 16 MB
        b"\x16\x03\x01\0\x04\x01\0\0\0",  # an empty one
        b"\x16\x03\x01\0\0" * (MOST_RECORDS + 1),
        b"\x16\x03\x01\xff\xff\x01\0\x3f\xf0" + bytes(LONGEST),
    ],
)
def test_what_offers_nothing_is_left_to_openssl(data: bytes) -> None:
    assert offered(data) == []


def test_an_offer_that_is_malformed_is_left_to_openssl() -> None:
    data = hello("h2")
    at = data.index(b"\x02h2")
    assert offered(data[:at] + b"\x09" + data[at + 1 :]) == []
    assert offered(data.replace(b"\0\x03\x02h2", b"\xff\x03\x02h2")) == []
    for place in range(5, len(data)):
        for byte in (0, 1, 127, 255):
            found = offered(data[:place] + bytes([byte]) + data[place + 1 :])
            assert found is None or isinstance(found, list)

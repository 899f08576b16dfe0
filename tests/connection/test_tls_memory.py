"""The memory that TLS keeps of an idle peer: not the room of the most that it has ever sent or received."""

from __future__ import annotations

import ctypes
import gc
import ssl
from typing import Final

import pytest

from allcomers.connection.tls import Tls
from support.certificates import Certificate

PEERS: Final = 20
BODY: Final = bytes(64 * 1024)
MOST: Final = 90_000
"""Bytes for each peer: two times a record, by a third larger as OpenSSL grows them, and its connection; it was 169,000
with all of a body at once."""


class Mallinfo2(ctypes.Structure):
    """What mallinfo(3) returns."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    )


def allocated() -> int:
    """Return the bytes that malloc(3) has given out."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        pytest.skip("this C library has no mallinfo2(3)")
    mallinfo2.restype = Mallinfo2
    gc.collect()
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def served(server: ssl.SSLContext, client: ssl.SSLContext) -> Tls:
    """Return the codec of a peer that has sent BODY and received it."""
    codec = Tls(server)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = client.wrap_bio(received, sent, server_hostname="localhost")

    def exchange() -> bytes | None:
        plain = codec.received(sent.read()) if sent.pending else None
        while codec.pending:
            received.write(sealed := bytes(codec.output()))
            codec.sent(len(sealed))
        return plain

    with pytest.raises(ssl.SSLWantReadError):
        engine.do_handshake()
    exchange()
    engine.do_handshake()
    engine.write(BODY)
    assert exchange() == BODY
    codec.push(BODY)
    exchange()
    assert engine.read(1) == BODY[:1]
    return codec


def test_an_idle_peer_keeps_the_room_of_a_record(certificate: Certificate) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.pem)
    served(server, certificate.trusted)  # what is made once is there now
    before = allocated()
    peers = [served(server, certificate.trusted) for _ in range(PEERS)]
    assert (allocated() - before) / len(peers) < MOST

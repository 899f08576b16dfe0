"""The handshake of a WebSocket: requests for one, refusals, offers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.errors import AnswerError, HttpError
from allcomers.protocol.head import RequestHead, parse_request
from allcomers.protocol.websocket.handshake import Offer, asked, offer
from allcomers.protocol.websocket.session import accept

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
VERSION = b"Sec-WebSocket-Version: 13"
UPGRADE = (b"Upgrade: websocket", b"Connection: Upgrade")
RIGHT = (*UPGRADE, KEY, VERSION)


def head(*lines: bytes, method: bytes = b"GET", minor: int = 1) -> RequestHead:
    block = b"%b /chat HTTP/1.%d\r\nHost: example.org\r\n" % (method, minor)
    return parse_request(block + b"".join(line + b"\r\n" for line in lines), 100, RequestHead())


def offered(*lines: bytes) -> Offer:
    return offer(head(*RIGHT, *lines))


# ---------------------------------------------------------------- is it one?


@pytest.mark.parametrize(
    "lines",
    [
        UPGRADE,
        (b"upgrade: WebSocket", b"connection: keep-alive, upgrade"),
        (b"Upgrade: h2c, websocket \t", b"Connection: Upgrade"),
        (b"Upgrade: h2c", b"Upgrade: websocket", b"Connection: keep-alive", b"Connection: ,upgrade,"),
        (b"Upgrade: websocket", b"Upgrade: h2c", b"Connection: upgrade"),
    ],
)
def test_asks_for_a_websocket(lines: tuple[bytes, ...]) -> None:
    assert asked(head(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"Upgrade: websocket",),
        (b"Upgrade: websocket", b"Connection: keep-alive"),
        (b"Upgrade: websocket", b"Connection: upgraded"),
        (b"Upgrade: h2c", b"Connection: Upgrade"),
        (b"Upgrade: websocket/13", b"Connection: Upgrade"),
        (b"Connection: Upgrade", b"X-Upgrade: websocket"),
    ],
)
def test_asks_for_none(lines: tuple[bytes, ...]) -> None:
    assert not asked(head(*lines))


def test_http_1_0_has_no_upgrade() -> None:
    assert not asked(head(*RIGHT, minor=0))


# ---------------------------------------------------------------- is it right?


@pytest.mark.parametrize(
    "request_head",
    [
        head(*RIGHT, method=b"POST"),
        head(*RIGHT, b"Content-Length: 1"),
        head(*RIGHT, b"Transfer-Encoding: chunked"),
        head(*UPGRADE, VERSION),
        head(*UPGRADE, VERSION, b"Sec-WebSocket-Key:"),
        head(*RIGHT, KEY),
        head(*UPGRADE, VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ="),
        head(*UPGRADE, VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==="),
        head(*UPGRADE, VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU="),  # 17 bytes
        head(*UPGRADE, VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ-=="),
        head(*RIGHT, b"Sec-WebSocket-Protocol: a b"),
        head(*RIGHT, b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: (b)"),
        head(*RIGHT, b"Sec-WebSocket-Protocol:"),
        head(*RIGHT, b"Sec-WebSocket-Extensions: a; b=", b"Sec-WebSocket-Extensions: c"),
        head(*RIGHT, b"Sec-WebSocket-Extensions: a b"),
        head(*RIGHT, b'Sec-WebSocket-Extensions: a; b="c d"'),
        head(*RIGHT, b'Sec-WebSocket-Extensions: a; b="c'),
        head(*RIGHT, b"Sec-WebSocket-Extensions: a;"),
        head(*RIGHT, b"Sec-WebSocket-Extensions: ,"),
    ],
)
def test_refused(request_head: RequestHead) -> None:
    assert asked(request_head)
    with pytest.raises(HttpError) as error:
        offer(request_head)
    assert (error.value.status, error.value.headers) == (400, [])


@pytest.mark.parametrize(
    "versions", [(), (b"12",), (b"14",), (b"013",), (b"13, 8",), (b"13", b"13"), (b"8", b"13"), (b"",)]
)
def test_only_version_13_is_spoken(versions: tuple[bytes, ...]) -> None:
    lines = [b"Sec-WebSocket-Version: " + version for version in versions]
    with pytest.raises(HttpError) as error:
        offer(head(*UPGRADE, KEY, *lines))
    assert error.value.status == 426
    assert dict(error.value.headers) == {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}


# ---------------------------------------------------------------- what it offers


def test_the_least_offer() -> None:
    assert offered() == Offer(b"dGhlIHNhbXBsZSBub25jZQ==", [], [])
    assert offered(b"Content-Length: 0") == offered()


def test_subprotocols_of_all_fields_in_order() -> None:
    lines = (b"Sec-WebSocket-Protocol: chat.v2,chat.v1 ", b"sec-websocket-protocol: , soap ,,")
    assert offered(*lines).subprotocols == ["chat.v2", "chat.v1", "soap"]


def test_extensions_of_all_fields_as_they_are() -> None:
    values = ['foo, bar; baz=2; q="1"', ",permessage-deflate ; client_max_window_bits ,"]
    lines = [f"Sec-WebSocket-Extensions: {value}".encode() for value in values]
    assert offered(*lines).extensions == values


PARTS = ["permessage-deflate", "client_max_window_bits", "server_max_window_bits", "x", "8", "15", *'=;," \t']


@given(st.lists(st.sampled_from(PARTS), max_size=15).map("".join))
def test_what_is_well_formed_can_be_answered(value: str) -> None:
    """A well-formed offer never fails later, when the app has accepted already."""
    try:
        sent = offered(f"Sec-WebSocket-Extensions: {value}".encode())
    except HttpError:
        return
    answer(sent)


# ---------------------------------------------------------------- the answer


def answer(sent: Offer | None = None, **options: object) -> list[bytes]:
    block, websocket = accept(sent or offered(), max_size=1, **options)  # type: ignore[arg-type]
    assert websocket.open
    assert block.endswith(b"\r\n\r\n")
    return block[:-4].split(b"\r\n")


def test_the_answer() -> None:
    assert answer() == [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",  # RFC 6455, 1.3
    ]


def test_the_answer_with_all_that_it_can_have() -> None:
    sent = offered(
        b"Sec-WebSocket-Protocol: a, b", b"Sec-WebSocket-Extensions: x, permessage-deflate; q=1, permessage-deflate"
    )
    headers = [("Set-Cookie", "a=b"), ("Date", "never"), ("Connection", "close"), ("Content-Length", "1")]
    lines = answer(sent, subprotocol="b", headers=headers, server=b"Server: allcomers\r\n")
    assert lines[4:] == [
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        b"Sec-WebSocket-Protocol: b",
        b"Set-Cookie: a=b",
        b"Server: allcomers",
        b"Date: never",
    ]
    assert answer(headers=[("server", "mine")], server=b"Server: allcomers\r\n")[4:] == [b"Server: mine"]


def test_a_subprotocol_that_was_not_offered() -> None:
    with pytest.raises(AnswerError):
        answer(offered(b"Sec-WebSocket-Protocol: a"), subprotocol="A")


@pytest.mark.parametrize(
    "pair", [("Sec-WebSocket-Protocol", "a"), ("sec-websocket-accept", "x"), ("upgrade", "h2c"), ("a", "b\r\nc: d")]
)
def test_headers_that_an_app_may_not_set(pair: tuple[str, str]) -> None:
    with pytest.raises(AnswerError):
        answer(headers=[("X-Fine", "yes"), pair])


AGREED = {
    "permessage-deflate": "",
    "permessage-deflate; client_max_window_bits": "",
    "permessage-deflate; client_max_window_bits=10": "; client_max_window_bits=10",
    'permessage-deflate; server_max_window_bits="9"': "; server_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=15; client_no_context_takeover": "; server_max_window_bits=15",
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": "",  # zlib has no window of 8 bits to send with
    "permessage-deflate; server_max_window_bits=8": None,
    "permessage-deflate; server_max_window_bits=16": None,
    "permessage-deflate; server_max_window_bits=09": None,
    "permessage-deflate; server_max_window_bits": None,
    "permessage-deflate; client_max_window_bits=7": None,
    "permessage-deflate; server_no_context_takeover=1": None,
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover": None,
    "permessage-deflate; unknown": None,
    "x-webkit-deflate-frame": None,
}


@pytest.mark.parametrize(("extensions", "agreed"), AGREED.items())
def test_what_is_agreed_on(extensions: str, agreed: str | None) -> None:
    always = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    sent = offered(f"Sec-WebSocket-Extensions: {extensions}".encode())
    lines = [line for line in answer(sent) if line.startswith(b"Sec-WebSocket-Extensions")]
    assert lines == ([] if agreed is None else [f"Sec-WebSocket-Extensions: {always}{agreed}".encode()])
    assert answer(sent, deflate=False) == answer()

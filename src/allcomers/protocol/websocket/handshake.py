"""The HTTP part of a WebSocket's handshake: the requests for one, and their checks (RFC 6455, 4.2).

This file reads heads. It needs no library, so that a server without one can still report what is missing. `session`
has the frames that follow a handshake, and agrees on extensions.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from allcomers.errors import HttpError
from allcomers.protocol.head import TOKEN, RequestHead

VERSION: Final = b"13"

_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64
_TOKEN: Final = rb"%b++" % TOKEN
_LIST: Final = rb"(?:[ \t]*+,)*+[ \t]*+%b(?:[ \t]*+,[ \t]*+(?:%b)?)*+[ \t]*+"
_PROTOCOLS: Final = re.compile(_LIST % (_TOKEN, _TOKEN))
_PARAMETER: Final = rb'[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|"%b"))?+' % (_TOKEN, _TOKEN, _TOKEN)
_EXTENSION: Final = rb"%b(?:%b)*+" % (_TOKEN, _PARAMETER)
_EXTENSIONS: Final = re.compile(_LIST % (_EXTENSION, _EXTENSION))  # RFC 6455, 9.1


class Offer(NamedTuple):
    """A client's offer in its handshake.

    key           Sec-WebSocket-Key, as sent
    subprotocols  in the client's order of preference
    extensions    the values of Sec-WebSocket-Extensions, in order: well-formed, and no more than that
    """

    key: bytes
    subprotocols: list[str]
    extensions: list[str]


def asked(head: RequestHead) -> bool:
    """Return True if this request wants a WebSocket, valid or not.

    An Upgrade that the Connection field does not name was meant for another connection; HTTP/1.0 has none (RFC 9110,
    7.8).
    """
    if head.version == "2":  # extended CONNECT (RFC 8441): `upgrades` of no other request of HTTP/2
        return head.upgrades
    return asks_for_upgrade(head) and b"websocket" in _options(head, b"upgrade")


def asks_for_upgrade(head: RequestHead) -> bool:
    """Return True if this request wants another protocol on its connection."""
    return head.version == "1.1" and b"upgrade" in head.named and b"upgrade" in _options(head, b"connection")


def offer(head: RequestHead) -> Offer:
    """Return the offer of a request for which asked() is True.

    Raises HttpError: 426 for another version, 400 for all else that RFC 6455, 4.2.1 does not allow.
    """
    if head.method != "GET":
        raise HttpError(400, "A request for a WebSocket has the method GET.")
    if head.length or head.chunked:
        raise HttpError(400, "A request for a WebSocket has no body.")
    if _values(head, b"sec-websocket-version") != [VERSION]:
        raise HttpError(
            426,
            "The only version of WebSocket spoken here is 13.",
            headers=[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
        )
    keys = _values(head, b"sec-websocket-key")
    if head.version == "2":  # HTTP/2 itself shows that the server understands the request (RFC 8441, 5)
        keys = [b"A" * 22 + b"=="]
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise HttpError(400, "Sec-WebSocket-Key is not 16 bytes in base64, once.")
    protocols = _values(head, b"sec-websocket-protocol")
    if not all(map(_PROTOCOLS.fullmatch, protocols)):
        raise HttpError(400, "Sec-WebSocket-Protocol is malformed.")
    extensions = _values(head, b"sec-websocket-extensions")
    if not all(map(_EXTENSIONS.fullmatch, extensions)):
        raise HttpError(400, "Sec-WebSocket-Extensions is malformed.")
    subprotocols = [name.decode("ascii") for name in _split(b",".join(protocols))]
    return Offer(keys[0], subprotocols, [value.decode("ascii") for value in extensions])


def _values(head: RequestHead, name: bytes) -> list[bytes]:
    """Return the values of all fields called `name`, which is in lower case."""
    if name not in head.named:
        return []
    return [value.rstrip(b" \t") for field, value in head.fields if field.lower() == name]


def _split(value: bytes) -> list[bytes]:
    return [stripped for part in value.split(b",") if (stripped := part.strip(b" \t"))]


def _options(head: RequestHead, name: bytes) -> list[bytes]:
    return _split(b",".join(_values(head, name)).lower())

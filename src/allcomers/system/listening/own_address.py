"""The address that a listener, or the socket of a peer, has on this machine."""

from __future__ import annotations

import os
import socket
import sys
from functools import lru_cache
from typing import Any

from allcomers.protocol.compiled import Server


def own_address(sock: socket.socket) -> Server:
    """Return the address that a socket has on this machine: (host, port), or (path, None). Raises OSError."""
    return _one(sock.getsockname())


@lru_cache(1024)
def _one(name: tuple[Any, ...] | str | bytes) -> Server:
    """Return the same object for all peers that came to the socket of this name."""
    return (name[0], name[1]) if isinstance(name, tuple) else (os.fsdecode(name), None)


def address_of_all(listener: socket.socket) -> Server | None:
    """Return the address that all peers of a listener have connected to; None where each may have another."""
    address = own_address(listener)
    is_unix = listener.family == socket.AF_UNIX
    return address if is_unix or not (address[0] in ("0.0.0.0", "::") or _is_transparent(listener)) else None


def _is_transparent(listener: socket.socket) -> bool:
    """Return whether peers may have connected to any address, as behind a proxy that hides itself (ip(7))."""
    if sys.platform != "linux":
        return False
    is_v6 = listener.family == socket.AF_INET6
    option = (socket.IPPROTO_IPV6, 75) if is_v6 else (socket.IPPROTO_IP, 19)  # IPV6_TRANSPARENT, IP_TRANSPARENT
    return listener.getsockopt(*option) != 0

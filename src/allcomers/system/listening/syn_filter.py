"""A filter on a listener of a server that leaves: no connection is begun that nobody would serve."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable


def deafen(listeners: Iterable[socket.socket]) -> None:
    """Drop new connections, while those in the backlog are still served; on Linux only, else do nothing.

    A listener that is closed resets peers that came between the last accept and the close. A socket filter (socket(7),
    SO_ATTACH_FILTER) of one instruction, "take 0 bytes", drops each SYN before: its sender tries again a second
    later and then meets a closed port, or the next server.
    """
    if sys.platform != "linux":
        return
    import ctypes  # late: it takes 5 ms, and only a server that leaves needs it

    for listener in listeners:
        if listener.family == socket.AF_UNIX:
            continue
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, 0
        program = struct.pack("HP", 1, ctypes.addressof(drop))
        try:
            listener.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER
        except OSError:
            return

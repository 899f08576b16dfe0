"""A throw-away certificate for the tests of TLS."""

from __future__ import annotations

import select
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class LockedSocket(ssl.SSLSocket):
    """A client's socket that one thread reads while another writes, as those of websockets.sync do.

    OpenSSL's object is not for two threads at once, and Python 3.13.0 has no lock of its own around it: of 11,080
    handshakes of websockets' client with websockets' server, on two busy cores, 8 had no answer.
    """

    def do_handshake(self, block: bool = False) -> None:
        self._lock = threading.Lock()
        super().do_handshake(block)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        patience = self.gettimeout()
        while True:
            if not self.pending() and not select.select([self], [], [], patience)[0]:
                raise TimeoutError("timed out")
            with self._lock:
                self.settimeout(0)
                try:
                    return super().recv(buflen, flags)
                except ssl.SSLWantReadError:  # a record of TLS itself, such as a session ticket
                    pass
                finally:
                    self.settimeout(patience)

    def sendall(self, data: Any, flags: int = 0) -> None:
        with self._lock:
            super().sendall(data, flags)


@dataclass(frozen=True)
class Certificate:
    """The server's certificate for localhost and 127.0.0.1.

    pem          a file with its chain and its key
    trusted      a client's context that trusts it
    for_threads  the same for a client that reads and writes in two threads
    """

    pem: Path

    trusted: ssl.SSLContext

    for_threads: ssl.SSLContext

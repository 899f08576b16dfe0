"""A throw-away certificate for the tests of TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """The server's certificate for localhost and 127.0.0.1.

    pem      a file with its chain and its key
    trusted  a client's context that trusts it
    """

    pem: Path

    trusted: ssl.SSLContext

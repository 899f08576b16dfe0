"""Where TLS contexts come from: files that are read now, or that were read before root was given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from allcomers.config.options import Config

if TYPE_CHECKING:
    import ssl


HTTP: Final = ("http/1.1",)
"""The protocols that are told to TLS clients (ALPN, RFC 7301)."""


Keys: TypeAlias = "Callable[[tuple[str, ...]], ssl.SSLContext | None]"
"""From the protocols to a TLS context; None where TLS is not wanted."""


def certificates(config: Config, protocols: tuple[str, ...]) -> ssl.SSLContext | None:
    """Read from their files now. Raises ConfigError."""
    if not config.certfile:
        return None
    from allcomers.server.certificates import server_context

    return server_context(config.certfile, config.keyfile, config.ca_certs, list(protocols))


def read_now(config: Config) -> Keys:
    """All that may be asked for, read from files that soon cannot be read any more. Raises ConfigError."""
    found: dict[tuple[str, ...], ssl.SSLContext | None] = {
        protocols: certificates(config, protocols) for protocols in ((), HTTP)
    }
    return found.__getitem__

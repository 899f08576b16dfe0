"""The source of TLS contexts: files that are read when needed, or were read before root was given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from allcomers.config.options import Config

if TYPE_CHECKING:
    import ssl


HTTP: Final = ("http/1.1",)
"""The protocols offered to TLS clients (ALPN, RFC 7301)."""


Keys: TypeAlias = "Callable[[tuple[str, ...]], ssl.SSLContext | None]"
"""Map ALPN protocols to a TLS context; None without TLS."""


def certificates(config: Config, protocols: tuple[str, ...]) -> ssl.SSLContext | None:
    """Read the certificates, and return a context; None without TLS. Raises ConfigError."""
    if not config.certfile:
        return None
    from allcomers.server.certificates import server_context

    return server_context(config.certfile, config.keyfile, config.ca_certs, list(protocols))


def read_now(config: Config) -> Keys:
    """Read all certificates now, because their files cannot be read later. Raises ConfigError."""
    contexts: dict[tuple[str, ...], ssl.SSLContext | None] = {
        protocols: certificates(config, protocols) for protocols in ((), HTTP)
    }
    return contexts.__getitem__

"""The source of TLS contexts: files that are read when needed, or were read before root was given up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from allcomers.config.options import Config
from allcomers.config.sources import PREFIX, SECRET
from allcomers.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from _ssl import _SSLContext

    from allcomers.server.tls.certificates import Rules


HTTP: Final = {"auto": ("h2", "http/1.1"), "1.1": ("http/1.1",), "2": ("h2",)}
"""The protocols offered to TLS clients (ALPN, RFC 7301), by --http."""

PASSWORD: Final = f"{PREFIX}{SECRET}"
"""The environment variable of the keys' password."""


Keys: TypeAlias = "Callable[[tuple[str, ...]], ssl.SSLContext | None]"
"""Map ALPN protocols to a TLS context; None without TLS."""


Tickets: TypeAlias = "dict[tuple[str, ...], _SSLContext]"
"""Contexts without a certificate, each for these protocols, that give away nothing but the keys of session tickets."""


def new_tickets(config: Config) -> Tickets:
    """Return what makes processes that are forked from now on accept each other's session tickets (RFC 8446, 4.6.1;
    RFC 5077); nothing without TLS.

    OpenSSL makes the keys of tickets with a context, and ssl can set no others. So a worker loads its certificates into
    a context that was here before the fork. Here `_ssl` is enough: an app may patch `ssl` in its worker.
    """
    if not (config.certfile or config.tls_self_signed):
        return {}
    from _ssl import PROTOCOL_TLS_SERVER, _SSLContext

    class Blank(_SSLContext):
        """A context that becomes a ServerContext: it has room for its attributes."""

    return {protocols: Blank(PROTOCOL_TLS_SERVER) for protocols in ((), HTTP[config.http])}


def take_password() -> str:
    """Return the password in the environment, "" for none, and remove it there: the app and its children are not to
    have it."""
    return os.environ.pop(PASSWORD, "")


def certificates(
    config: Config, protocols: tuple[str, ...], password: str = "", tickets: Tickets | None = None
) -> ssl.SSLContext | None:
    """Read the certificates, and return a context; None without TLS. Raises ConfigError.

    password  what take_password() has returned, in a process that has called it
    tickets   those that other workers accept, too; each is used once
    """
    if not (config.certfile or config.tls_self_signed):
        return None
    from allcomers.server.tls.certificates import server_context

    certfiles = config.certfile
    if config.tls_self_signed:
        from allcomers.server.tls.self_signed import local_certificate

        certfiles = (local_certificate(),)
    blank = (tickets or {}).pop(protocols, None)
    return server_context(certfiles, config.keyfile, config.ca_certs, list(protocols), rules(config, password), blank)


def rules(config: Config, password: str = "") -> Rules:
    """Return what the options say of all certificates. Raises ConfigError for a file that cannot be read."""
    from allcomers.server.tls.certificates import Rules

    path = config.keyfile_password_file
    secret = _first_line(path) if path else password or os.environ.get(PASSWORD)
    return Rules(config.tls_min, config.ciphers, config.client_cert, secret or None)


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigError(f"--keyfile-password-file {path!r}: {reason}") from None


def read_now(config: Config, password: str = "", tickets: Tickets | None = None) -> Keys:
    """Read all certificates now, because their files cannot be read later. Raises ConfigError."""
    contexts: dict[tuple[str, ...], ssl.SSLContext | None] = {
        protocols: certificates(config, protocols, password, tickets) for protocols in ((), HTTP[config.http])
    }
    return contexts.__getitem__

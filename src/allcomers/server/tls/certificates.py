"""Certificates from their files: the TLS contexts of a server.

Of several certificates, the name that a client requests (SNI, RFC 6066, 3) selects one; the first is for all other
names. A certificate contains its names, but the ssl module reads no certificate except a peer's (of a context's own
certificates, get_ca_certs() returns the authorities only). So a client within this process does a handshake with each,
in memory: that takes two to three milliseconds at the start, needs no parser and no further package, and OpenSSL also
reports why other clients will refuse it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import ssl
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from allcomers.connection.tls import ServerContext
from allcomers.errors import ConfigError
from allcomers.protocol.tls.info import pem

_logger = logging.getLogger("allcomers.tls")

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Suites of TLS 1.2: those with AEAD and forward secrecy (RFC 9325, 4.2). TLS 1.3 has no others, and its own list."""

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
"""None is older (RFC 8996)."""

_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name."""


class Rules(NamedTuple):
    """What holds for all certificates of a server.

    minimum      the oldest version of TLS: "1.2" or "1.3"
    ciphers      suites of TLS 1.2, as openssl-ciphers(1) lists them; "" for those of RFC 9325
    client_cert  "required" or "optional", of the authorities; a client without one is then served, too
    password     of the keys that are encrypted; None where there is none
    """

    minimum: str = "1.2"
    ciphers: str = ""
    client_cert: str = "required"
    password: str | None = None


_DEFAULT: Final = Rules()


def server_context(
    certfiles: Sequence[str],
    keyfiles: Sequence[str],
    ca_certs: str,
    protocols: list[str],
    rules: Rules = _DEFAULT,
    blank: Any = None,
) -> ssl.SSLContext:
    """Return a context for these certificates. Raises ConfigError.

    certfiles  one or more files with a chain each; the first serves all names that no other has
    keyfiles   one for each, or none: then each chain's file contains its key
    ca_certs   a file of the authorities of the clients' certificates; "" where clients need none
    protocols  for ALPN (RFC 7301)
    blank      becomes the context, with the keys of its session tickets (keys.new_tickets); None for a new one
    """
    if keyfiles and len(keyfiles) != len(certfiles):
        raise ConfigError(
            f"--keyfile: there are {len(keyfiles)} for {len(certfiles)} --certfile; one for each, or none"
        )
    by_name: dict[str, ssl.SSLContext] = {}
    contexts: list[ServerContext] = []
    hosts: tuple[str, ...] = ()
    for certfile, keyfile in zip(certfiles, keyfiles or certfiles, strict=True):
        # The tickets of all names are the first context's: OpenSSL looks for their keys there.
        context = _context(certfile, keyfile, protocols, rules, None if contexts else blank)
        own = _own_certificate(context, certfile)
        names = _names(own)
        hosts += (*names, *_addresses(own))
        if contexts and by_name.keys() >= set(names):
            raise ConfigError(f"--certfile {certfile!r}: {_useless(names)}, so it would never be selected")
        for name in names:
            by_name.setdefault(name, context)
        contexts.append(context)
    for context in contexts:
        _request_client_certificates(context, ca_certs, rules.client_cert)
        context.hosts = hosts
    if len(contexts) > 1:
        contexts[0].sni_callback = _selector(by_name)
    return contexts[0]


def certificate(certfile: str, keyfile: str, rules: Rules = _DEFAULT) -> dict[str, Any]:
    """Return the certificate of this pair as SSLSocket.getpeercert() does, also if expired or not yet valid; {} if no
    client could use it. Raises ConfigError if no server could."""
    return _at_any_time(_context(certfile, keyfile, [], rules), certfile)


def _useless(names: Iterable[str]) -> str:
    return "certificates before it have all of its names" if names else "it names no host"


def _context(certfile: str, keyfile: str, protocols: list[str], rules: Rules, blank: Any = None) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER) if blank is None else _become(blank)
    context.minimum_version = _VERSIONS[rules.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # PERF: a second one takes OpenSSL 27 of the 292 µs of a full handshake (P-256), and each visit gives another.
    context.num_tickets = 1
    _set_ciphers(context, rules.ciphers)
    if protocols:
        context.set_alpn_protocols(protocols)
        context.protocols = protocols

    def password() -> str:  # otherwise OpenSSL would prompt at a terminal, which a server may not have
        if rules.password is None:
            raise ConfigError(
                f"{_flag(certfile, keyfile)} {keyfile!r}: the key is encrypted: name a file with its password by"
                " --keyfile-password-file, or decrypt it by `openssl pkey -in KEY -out NEW`"
            )
        return rules.password

    try:
        context.load_cert_chain(certfile, keyfile, password=password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(_explain(certfile, keyfile, error, rules.password is not None)) from None
    return context


def _become(blank: Any) -> ServerContext:
    """Return this context of `_ssl` as one of ours: in CPython the classes of ssl add methods alone."""
    blank.__class__ = ServerContext
    context: ServerContext = blank
    return context


def _set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    """Set the suites of TLS 1.2. Raises ConfigError; OpenSSL alone passes over a name that it does not know."""
    for name in re.split("[:, ]+", ciphers):
        plain = name.lstrip("!-+")
        try:
            context.set_ciphers(f"ALL:{plain}" if plain.startswith("@") else plain or _CIPHERS)
        except ssl.SSLError:
            why = (
                "the suites of TLS 1.3 are always offered" if plain.startswith("TLS_") else
                "OpenSSL has no such suite here; `openssl ciphers -v -tls1_2` lists its names"
            )  # fmt: skip
            raise ConfigError(f"--ciphers {name!r}: {why}") from None
    try:
        context.set_ciphers(ciphers or _CIPHERS)
    except ssl.SSLError:
        raise ConfigError(f"--ciphers {ciphers!r}: it leaves no suite") from None


def _flag(certfile: str, keyfile: str) -> str:
    return "--certfile" if keyfile == certfile else "--keyfile"


def _explain(certfile: str, keyfile: str, error: Exception, has_password: bool) -> str:
    """Explain why this pair cannot be loaded: OpenSSL names neither the file nor the missing part."""
    for flag, path, label in (
        ("--certfile", certfile, "CERTIFICATE"),
        (_flag(certfile, keyfile), keyfile, "PRIVATE KEY"),
    ):
        try:
            data = Path(path).read_bytes()
        except (OSError, ValueError) as problem:
            return f"{flag} {path!r}: {_reason(problem)}"
        if f"{label}-----".encode() not in data:
            hint = (
                "; it looks like DER: `openssl x509` and `openssl pkey` turn that into PEM" if data[:1] == b"0" else ""
            )
            return f"{flag} {path!r}: there is no {label} in PEM form in it{hint}"
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"{_flag(certfile, keyfile)} {keyfile!r}: the key is not that of the first certificate in {certfile!r}"
    if has_password and b"ENCRYPTED" in Path(keyfile).read_bytes():
        return f"{_flag(certfile, keyfile)} {keyfile!r}: the password does not decrypt the key ({_reason(error)})"
    return f"--certfile {certfile!r}: no usable certificate and key in PEM form ({_reason(error)})"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "").lower().replace("_", " ") or str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _request_client_certificates(context: ssl.SSLContext, ca_certs: str, how: str) -> None:
    if ca_certs:
        try:
            context.load_verify_locations(ca_certs)
        except (OSError, ssl.SSLError) as error:
            reason = _reason(error)
            if isinstance(error, ssl.SSLError):
                reason = f"no usable certificate in PEM form ({reason})"
            raise ConfigError(f"--ca-certs {ca_certs!r}: {reason}") from None
        context.verify_mode = ssl.CERT_OPTIONAL if how == "optional" else ssl.CERT_REQUIRED


def _own_certificate(context: ServerContext, certfile: str) -> dict[str, Any]:
    """Return the certificate as SSLSocket.getpeercert() does; {} if OpenSSL allows no client to read it.

    A certificate that clients will refuse is logged, but served all the same, as nginx does: some clients do not check
    it, and its renewal may need this server.
    """
    try:
        return _seen_by_client(context, certfile, 0)
    except ssl.SSLCertVerificationError as error:
        _logger.warning("--certfile %r: clients will refuse it: %s", certfile, error.verify_message)
    except (ssl.SSLError, OSError) as error:
        _logger.warning("--certfile %r: no handshake: %s", certfile, _reason(error))
        return {}
    return _at_any_time(context, certfile)


def _at_any_time(context: ServerContext, certfile: str) -> dict[str, Any]:
    try:
        return _seen_by_client(context, certfile, _NO_CHECK_TIME)
    except (ssl.SSLError, OSError):
        return {}


def _seen_by_client(context: ServerContext, certfile: str, flags: int) -> dict[str, Any]:
    """Return getpeercert() of a client that trusts this certificate, and note its PEM. Raises ssl.SSLError, OSError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | flags
    client.load_verify_locations(certfile)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = context.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server)
    for side in (client_side, server_side, client_side):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    if certificate := client_side.getpeercert(binary_form=True):
        context.certificate = pem(certificate)
    return client_side.getpeercert() or {}


def _names(certificate: dict[str, Any]) -> list[str]:
    """Return its host names in lower case; without any, those of its subject, an old form (RFC 9525, appendix A)."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    subject = [value for parts in certificate.get("subject", ()) for kind, value in parts if kind == "commonName"]
    return [name.lower() for name in names or subject]


def _addresses(certificate: dict[str, Any]) -> list[str]:
    """Return its IP addresses, as ipaddress writes them."""
    found = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "IP Address"]
    return [str(ipaddress.ip_address(value)) for value in found]


def _selector(by_name: dict[str, ssl.SSLContext]) -> Callable[[ssl.SSLObject, str, ssl.SSLContext], None]:
    """Return a callback that gives a connection the context for its name; "*" matches one label (RFC 9525, 6.3)."""

    def select(engine: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        name = (name or "").lower()
        context = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if context is not None:
            engine.context = context

    return select

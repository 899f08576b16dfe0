"""Certificates from their files: the TLS contexts of a server.

Several certificates: the name that a client asks for (SNI, RFC 6066, 3) chooses; the first has all names that no other
is for. Which names a certificate is for stands in it, and the ssl module reads no certificate but a peer's (of what a
context has loaded, get_ca_certs() tells the authorities alone). So each is shown to a client of our own, in memory: two
to three milliseconds at the start, no parser of our own and no further package, and OpenSSL says in passing what others
will hold against it.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from allcomers.errors import ConfigError

_logger = logging.getLogger("allcomers.tls")

_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name."""


def server_context(
    certfiles: Sequence[str], keyfiles: Sequence[str], ca_certs: str, protocols: list[str]
) -> ssl.SSLContext:
    """A context for these certificates; with `ca_certs`, clients must show one too. Raises ConfigError.

    certfiles  one or more files with a chain each; the first is for all names that no other is for
    keyfiles   one for each, or none: then each chain's file has its key
    protocols  for ALPN (RFC 7301)
    """
    if keyfiles and len(keyfiles) != len(certfiles):
        raise ConfigError(
            f"--keyfile: there are {len(keyfiles)} for {len(certfiles)} --certfile; one for each, or none"
        )
    by_name: dict[str, ssl.SSLContext] = {}
    contexts: list[ssl.SSLContext] = []
    for certfile, keyfile in zip(certfiles, keyfiles or certfiles, strict=True):
        context = _context(certfile, keyfile, protocols)
        names = _names(_own_certificate(context, certfile))
        if contexts and by_name.keys() >= set(names):
            raise ConfigError(f"--certfile {certfile!r}: {_useless(names)}, so it would never be chosen")
        for name in names:
            by_name.setdefault(name, context)
        contexts.append(context)
    for context in contexts:
        _ask_clients(context, ca_certs)
    if len(contexts) > 1:
        contexts[0].sni_callback = _chooser(by_name)
    return contexts[0]


def certificate(certfile: str, keyfile: str) -> dict[str, Any]:
    """The certificate of this pair as SSLSocket.getpeercert() has it, expired or not yet valid too; {} where no client
    could use it. Raises ConfigError where no server could."""
    return _whatever_its_time(_context(certfile, keyfile, []), certfile)


def _useless(names: Iterable[str]) -> str:
    return "certificates before it are for all of its names" if names else "it names no host"


def _context(certfile: str, keyfile: str, protocols: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if protocols:
        context.set_alpn_protocols(protocols)

    def encrypted() -> str:  # else OpenSSL would ask at a terminal, which a server may not have
        raise ConfigError(
            f"{_flag(certfile, keyfile)} {keyfile!r}: the key is encrypted, and nobody is there to ask for its pass"
            " phrase; `openssl pkey -in KEY -out NEW` decrypts it"
        )

    try:
        context.load_cert_chain(certfile, keyfile, password=encrypted)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(_trouble(certfile, keyfile, error)) from None
    return context


def _flag(certfile: str, keyfile: str) -> str:
    return "--certfile" if keyfile == certfile else "--keyfile"


def _trouble(certfile: str, keyfile: str, error: Exception) -> str:
    """Why this pair cannot be loaded: OpenSSL tells neither the file nor what it missed there."""
    for flag, path, what in (
        ("--certfile", certfile, "CERTIFICATE"),
        (_flag(certfile, keyfile), keyfile, "PRIVATE KEY"),
    ):
        try:
            data = Path(path).read_bytes()
        except (OSError, ValueError) as problem:
            return f"{flag} {path!r}: {_reason(problem)}"
        if f"{what}-----".encode() not in data:
            hint = (
                "; it looks like DER: `openssl x509` and `openssl pkey` turn that into PEM" if data[:1] == b"0" else ""
            )
            return f"{flag} {path!r}: there is no {what} in PEM form in it{hint}"
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"{_flag(certfile, keyfile)} {keyfile!r}: the key is not that of the first certificate in {certfile!r}"
    return f"--certfile {certfile!r}: no usable certificate and key in PEM form ({_reason(error)})"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "").lower().replace("_", " ") or str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _ask_clients(context: ssl.SSLContext, ca_certs: str) -> None:
    if ca_certs:
        try:
            context.load_verify_locations(ca_certs)
        except (OSError, ssl.SSLError) as error:
            said = _reason(error)
            reason = f"no usable certificate in PEM form ({said})" if isinstance(error, ssl.SSLError) else said
            raise ConfigError(f"--ca-certs {ca_certs!r}: {reason}") from None
        context.verify_mode = ssl.CERT_REQUIRED


def _own_certificate(context: ssl.SSLContext, certfile: str) -> dict[str, Any]:
    """The certificate as SSLSocket.getpeercert() has it; {} where OpenSSL would not even let a client look at it.

    What clients will refuse is told, and served all the same, as nginx does: some clients do not look, and a renewal
    may need this very server to answer.
    """
    try:
        return _seen_by_client(context, certfile, 0)
    except ssl.SSLCertVerificationError as error:
        _logger.warning("--certfile %r: clients will refuse it: %s", certfile, error.verify_message)
    except (ssl.SSLError, OSError) as error:
        _logger.warning("--certfile %r: no handshake: %s", certfile, _reason(error))
        return {}
    return _whatever_its_time(context, certfile)


def _whatever_its_time(context: ssl.SSLContext, certfile: str) -> dict[str, Any]:
    try:
        return _seen_by_client(context, certfile, _NO_CHECK_TIME)
    except (ssl.SSLError, OSError):
        return {}


def _seen_by_client(context: ssl.SSLContext, certfile: str, flags: int) -> dict[str, Any]:
    """What getpeercert() gives to a client that trusts this certificate. Raises ssl.SSLError, OSError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | flags
    client.load_verify_locations(certfile)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = context.wrap_bio(there, back, server_side=True)
    far = client.wrap_bio(back, there)
    for side in (far, near, far):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return far.getpeercert() or {}


def _names(certificate: dict[str, Any]) -> list[str]:
    """The host names it is for, in small letters; of one without, its subject's, as of old (RFC 9525, appendix A)."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    subject = [value for parts in certificate.get("subject", ()) for kind, value in parts if kind == "commonName"]
    return [name.lower() for name in names or subject]


def _chooser(by_name: dict[str, ssl.SSLContext]) -> Callable[[ssl.SSLObject, str, ssl.SSLContext], None]:
    """Hands a connection over to the context that is for the name; "*" stands for one label (RFC 9525, 6.3)."""

    def choose(engine: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        name = (name or "").lower()
        context = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if context is not None:
            engine.context = context

    return choose

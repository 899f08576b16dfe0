"""What an app learns of the TLS of its client's connection."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from allcomers.protocol.tls import distinguished_name
from allcomers.protocol.tls.distinguished_name import Name


class TlsInfo:
    """The result of a handshake. Where a proxy has opened the connection, that is the proxy's.

    version       str, as OpenSSL names it: "TLSv1.3"
    cipher        str, as OpenSSL names it: "TLS_AES_256_GCM_SHA384"
    cipher_suite  int, IANA's number of that: 0x1302; None where it is unknown
    server_cert   str, the server's certificate in PEM; None where it is unknown
    environ, extension  what WSGI and ASGI make of this, once a connection; None before
    """

    environ: dict[str, str] | None = None
    extension: dict[str, Any] | None = None

    def __init__(
        self,
        version: str,
        cipher: str,
        cipher_suite: int | None,
        server_cert: str | None = None,
        certificates: Sequence[bytes] = (),
        subject: Name | None = None,
    ) -> None:
        """Note what a handshake found; `certificates` are in DER, `subject` is that of the first of them."""
        self.version = version
        self.cipher = cipher
        self.cipher_suite = cipher_suite
        self.server_cert = server_cert
        self._certificates = certificates
        self._subject = subject

    @cached_property
    def client_chain(self) -> tuple[str, ...]:
        """The client's certificate, which was verified, and those that vouch for it up to an authority's, in PEM; empty
        where it showed none. Before Python 3.13, and in a session that is resumed, the first alone."""
        return tuple(pem(certificate) for certificate in self._certificates)

    @cached_property
    def client_name(self) -> str | None:
        """The subject of the client's certificate (RFC 4514): "CN=ada,O=Example"; None where it showed none, or `ssl`
        cannot read its subject."""
        return None if self._subject is None else distinguished_name.to_string(self._subject)

    def __repr__(self) -> str:
        return f"<TlsInfo {self.version} {self.cipher} client_name={self.client_name!r}>"


def pem(certificate: bytes) -> str:
    """Return a certificate in DER as PEM (RFC 7468): ssl.DER_cert_to_PEM_cert(), without loading ssl."""
    text = b2a_base64(certificate, newline=False).decode("ascii")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----\n"))

"""The string of a distinguished name (RFC 4514), of a certificate's subject as `ssl` gives it."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Name: TypeAlias = tuple[tuple[tuple[str, str | bytes], ...], ...]
"""Relative names in the order of the certificate, each of one or more (type, value): SSLSocket.getpeercert()."""

_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "surname": "SN",
    "userId": "UID",
}
"""Types whose names in LDAP (section 3; RFC 4519) are not OpenSSL's. Others that LDAP has are the same: emailAddress,
givenName, serialNumber, title …"""

_SPECIAL: Final = re.compile(r'["+,;<>\\]|^[ #]| \Z')
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def to_string(name: Name) -> str | None:
    """Return the string of `name`, the last relative name first (section 2.1); None where a value is no text.

    A type that OpenSSL has no name for is in dotted decimal. Its value should be in hexadecimal (section 2.4), but
    `ssl` does not tell how it was encoded: it is text, like all others, as cryptography has it.
    """
    parts = []
    for relative in name[::-1]:
        pairs = [f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in relative if isinstance(value, str)]
        if len(pairs) < len(relative):
            return None
        parts.append("+".join(pairs))
    return ",".join(parts)


def _escaped(value: str) -> str:
    """Escape what has a meaning (section 2.4), and control characters, with which a line of a log could be forged."""
    value = _SPECIAL.sub(r"\\\g<0>", value)
    return _CONTROL.sub(lambda match: f"\\{ord(match[0]):02X}", value)

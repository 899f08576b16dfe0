"""The strings of distinguished names, beside those of cryptography."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from allcomers.protocol.tls.distinguished_name import to_string

TYPES = {
    "commonName": NameOID.COMMON_NAME,
    "organizationName": NameOID.ORGANIZATION_NAME,
    "organizationalUnitName": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "localityName": NameOID.LOCALITY_NAME,
    "stateOrProvinceName": NameOID.STATE_OR_PROVINCE_NAME,
    "streetAddress": NameOID.STREET_ADDRESS,
    "domainComponent": NameOID.DOMAIN_COMPONENT,
    "userId": NameOID.USER_ID,
    "surname": NameOID.SURNAME,
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "1.2.3.4": x509.ObjectIdentifier("1.2.3.4"),
}
"""OpenSSL's names of types."""

OVERRIDES = {NameOID.SURNAME: "SN", NameOID.EMAIL_ADDRESS: "emailAddress", NameOID.SERIAL_NUMBER: "serialNumber"}
"""Names of LDAP that cryptography does not use by itself."""

SPECIAL = st.sampled_from(list(" #,+\"\\<>;=/'\x00\n\r\x7f\u0142é"))
VALUES = st.text(SPECIAL | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
RELATIVE = st.lists(st.tuples(st.sampled_from(sorted(TYPES)), VALUES), min_size=1, max_size=2, unique_by=lambda p: p[0])


def name_of(relatives: list[list[tuple[str, str]]]) -> x509.Name:
    return x509.Name(
        x509.RelativeDistinguishedName([x509.NameAttribute(TYPES[kind], value, _validate=False) for kind, value in one])
        for one in relatives
    )


@given(st.lists(RELATIVE, max_size=4))
def test_a_name_reads_as_cryptography_writes_it(relatives: list[list[tuple[str, str]]]) -> None:
    said = to_string(tuple(map(tuple, relatives)))
    assert said is not None
    expected = name_of(relatives).rfc4514_string(OVERRIDES)
    for code in (*range(1, 0x20), 0x7F):  # cryptography leaves these as they are
        expected = expected.replace(chr(code), f"\\{code:02X}")
    assert said == expected
    assert said.isprintable() or not said.isascii()


@given(RELATIVE)
def test_a_name_is_understood(relative: list[tuple[str, str]]) -> None:
    names = {name: kind for kind, name in OVERRIDES.items()}
    said = to_string((tuple(relative),))
    assert said is not None
    assert x509.Name.from_rfc4514_string(said, names) == name_of([relative])


def test_control_characters_are_escaped() -> None:
    assert to_string(((("commonName", "a\r\nb\x00"),),)) == r"CN=a\0D\0Ab\00"
    assert to_string(((("commonName", " #"),), (("countryName", "#x "),))) == r"C=\#x\ ,CN=\ #"
    assert to_string(()) == ""


def test_what_is_no_text_has_no_name() -> None:
    assert to_string(((("commonName", "ada"), ("x500UniqueIdentifier", b"\xfe")),)) is None

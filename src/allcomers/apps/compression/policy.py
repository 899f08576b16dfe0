"""The verdict on a response: whether it is compressed, by which coding, and with which head.

Only what a client and the caches on the way can tell apart goes out coded: Vary names the field that decides (RFC 9110,
12.5.5), a tag is weak (8.8.3), and what is coded already, a part of something, or not to be changed stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from allcomers.apps.compression.codings import ContentCoding
from allcomers.protocol.fields.accept_encoding import MAX_FIELD, weights
from allcomers.protocol.fields.entity_tags import matches
from allcomers.protocol.head import BARE
from allcomers.protocol.message import Request, Response

MINIMUM: Final = 1024
"""Bytes from which a body is compressed: a smaller one fits in one packet, coded or not."""

Fields = list[tuple[str, str]]

_FORBIDDING: Final = frozenset(
    ("content-digest", "content-encoding", "content-md5", "content-range", "digest", "repr-digest", "upgrade")
)
"""Fields of a body that is coded already, is a part, or has a digest of its bytes; or of another protocol."""

_NOTED: Final = _FORBIDDING | {"cache-control", "content-length", "content-type", "etag", "set-cookie", "vary"}

_TEXTS: Final = """
    application/ecmascript application/graphql application/javascript application/json application/jsonl
    application/postscript application/rtf application/sql application/toml application/vnd.ms-fontobject
    application/wasm application/x-javascript application/x-ndjson application/x-yaml application/xml application/yaml
    font/collection font/otf font/ttf image/bmp image/x-icon model/obj model/stl
"""
"""Media types beside text/* and those with +json, +xml, +yaml or +text: Caddy's and nginx's documentation have most."""

_KNOWN_TEXTS: Final = frozenset(_TEXTS.split())


class Verdict(NamedTuple):
    """How a response goes out: its status and headers, its coding or None, and the bytes that its Content-Length has
    promised, or None."""

    status: int
    headers: Fields
    coding: ContentCoding | None
    declared: int | None


class Policy:
    """What is compressed.

    codings  that are possible, in the order that decides between equal weights
    secrets  also answers with secrets, over TLS: their size tells about them (BREACH, docs/security.md)
    private  each answer has secrets: clients are known by their certificates
    """

    def __init__(self, codings: Iterable[ContentCoding], *, secrets: bool = False, private: bool = False) -> None:
        self._codings = tuple(codings)
        self._secrets = secrets
        self._private = private
        self._choose = lru_cache(maxsize=256)(self._chosen)

    def verdict(self, request: Request, response: Response, size: int | None) -> Verdict | None:
        """Return how `response` goes out, if otherwise than it is. `size` is that of its body, None if unknown."""
        status = response.status
        try:
            noted = _noted(response.headers)
            if status == 304 and "etag" in noted:
                return _not_modified(request, response, noted["etag"])
            if status in BARE or status == 206 or not _may_change(noted):
                return None
            declared = _declared(noted.get("content-length"))
        except (TypeError, ValueError, AttributeError):  # the framing says what is wrong with the app's fields
            return None
        if size is None or (request.method == "HEAD" and not size and declared is not None):
            size = declared
        elif declared not in (None, size):
            return None  # the framing cuts this response off
        coding, may_be_plain = self._choose(_accepted(request))
        if size is not None and (size < MINIMUM and (may_be_plain or not size)):
            return None
        if coding is None or self._tells(request, noted):
            return plain(response)
        etag = noted.get("etag")
        if status == 200 and etag and _is_known(request, etag):
            kept = [(name, value) for name, value in response.headers if name.lower() != "content-type"]
            return Verdict(304, _coded(kept), None, None)
        return Verdict(status, _coded(response.headers, coding.name), coding, declared)

    def _chosen(self, field: str) -> tuple[ContentCoding | None, bool]:
        """Return the coding that the client likes best, None for none; and whether it takes a plain body."""
        found = weights(field)
        others = found.get("*", 0)
        plain = found.get("identity")
        may_be_plain = (others if plain is None and "*" in found else plain) != 0
        best = max(self._codings, key=lambda coding: found.get(coding.name, others))  # the first of equals
        weight = found.get(best.name, others)
        return (best if weight > 0 and weight >= (plain or 0) else None), may_be_plain

    def _tells(self, request: Request, noted: dict[str, str]) -> bool:
        """Return whether the size of this response would tell a listener about a secret in it."""
        if self._secrets or request.scheme != "https":
            return False
        named = request.named
        return self._private or "set-cookie" in noted or b"cookie" in named or b"authorization" in named


def plain(response: Response) -> Verdict:
    """Return the verdict on a response that goes out plain to this client, and coded to others."""
    return Verdict(response.status, _varied(response.headers), None, None)


def _accepted(request: Request) -> str:
    """Return the client's Accept-Encoding, or identity: one that is missing or far too long accepts nothing else."""
    values = request.values((b"accept-encoding",))
    if values is None:  # one of the fields repeats
        value = b",".join(line for name, line in request.fields if name.lower() == b"accept-encoding") or None
    else:
        value = values[0]
    if value is None or len(value) > MAX_FIELD:
        return "identity"
    return value.decode("latin-1")


def _noted(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields that matter here, by lower-case name; those that repeat, joined."""
    noted: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in _NOTED:
            noted[lower] = f"{noted[lower]}, {value}" if lower in noted else value
    return noted


def _may_change(noted: dict[str, str]) -> bool:
    """Return whether a response with these fields may be coded, and is of a type for which that pays."""
    if not _FORBIDDING.isdisjoint(noted) or "no-transform" in noted.get("cache-control", "").lower():
        return False
    return _is_text(noted.get("content-type", ""))


@lru_cache(maxsize=256)
def _is_text(value: str) -> bool:
    kind = value.partition(";")[0].strip(" \t").lower()
    return kind.startswith("text/") or kind in _KNOWN_TEXTS or kind.endswith(("+json", "+xml", "+yaml", "+text"))


def _declared(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise ValueError
    return int(value)


def _varied(headers: Fields) -> Fields:
    """Return the fields with Accept-Encoding in Vary."""
    varied = list(headers)
    for at, (name, value) in enumerate(varied):
        if name.lower() == "vary":
            tokens = {token.strip(" \t") for token in value.lower().split(",")}
            if not tokens.isdisjoint(("*", "accept-encoding")):
                return varied
            varied[at] = (name, f"{value}, Accept-Encoding" if value.strip() else "Accept-Encoding")
            return varied
    return [*varied, ("Vary", "Accept-Encoding")]


def _coded(headers: Fields, coding: str = "") -> Fields:
    """Return the fields of a body in this coding: of no known length, with no parts, and a weak tag."""
    coded = []
    for name, value in _varied(headers):
        lower = name.lower()
        if lower == "etag":
            coded.append((name, _weak(value)))
        elif lower not in ("content-length", "accept-ranges"):
            coded.append((name, value))
    return [*coded, ("Content-Encoding", coding)] if coding else coded


def _weak(etag: str) -> str:
    return etag if etag.startswith("W/") else f"W/{etag}"


def _is_known(request: Request, etag: str) -> bool:
    """Return whether the client has this already: an app that compares tags by themselves misses ours, which is weak
    (RFC 9110, 13.1.2)."""
    known = request.value(b"if-none-match")
    if known is None or request.method not in ("GET", "HEAD"):
        return False
    return b"W/" in known and matches(known.decode("latin-1"), etag.removeprefix("W/"), weak=True)


def _not_modified(request: Request, response: Response, etag: str) -> Verdict | None:
    """Return a 304 with the tag that the client has, if that is ours: a weak one (RFC 9110, 15.4.5)."""
    if etag.startswith("W/") or not _is_known(request, etag):
        return None
    return Verdict(304, _coded(response.headers), None, None)

"""Content codings that a client accepts: the Accept-Encoding field (RFC 9110 section 12.5.3)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Coding(NamedTuple):
    """A content coding: its `name` in HTTP, and the ending of a coded file beside the plain one."""

    name: str
    ending: bytes


CODINGS = (Coding("br", b".br"), Coding("zstd", b".zst"), Coding("gzip", b".gz"))
"""The codings in the order that decides between equal weights: the smallest first."""

MAX_FIELD = 256
"""Characters of an Accept-Encoding that is parsed, ten times a browser's; for a longer one plain files are sent.
It also bounds the memory of the cache below."""


def preferred(field: str) -> tuple[Coding, ...]:
    """Return the codings that the client prefers to the plain file, or likes as much, the best first; () for no field.

    A plain file not mentioned is acceptable, but last (section 12.5.3, rule 2).
    """
    return _preferred(field) if len(field) <= MAX_FIELD else ()


@lru_cache(maxsize=256)  # browsers send a handful of values
def _preferred(field: str) -> tuple[Coding, ...]:
    weights = _weights(field)
    others = weights.get("*", 0)
    plain = weights.get("identity", 0)
    weighed = [(weights.get(coding.name, others), coding) for coding in CODINGS]
    weighed.sort(key=lambda pair: -pair[0])  # a stable sort: equal weights keep the order of CODINGS
    return tuple(coding for weight, coding in weighed if weight > 0 and weight >= plain)


def _weights(field: str) -> dict[str, int]:
    """Return the weights of codings, in thousandths."""
    weights = {}
    for element in field.lower().split(","):
        name, _, parameter = element.partition(";")
        name = name.strip(" \t")
        weights["gzip" if name == "x-gzip" else name] = _weight(parameter.strip(" \t"))  # section 8.4.1.3
    return weights


def _weight(parameter: str) -> int:
    """Return thousandths of "q=0.5"; 1000 for none; 0 for a malformed one: better plain than unreadable."""
    if not parameter:
        return 1000
    name, _, value = parameter.partition("=")
    if name.strip(" \t") != "q" or len(value) > 5 or value.strip("0123456789."):
        return 0
    whole, _, fraction = value.partition(".")
    if whole not in ("0", "1") or not (fraction or "0").isdigit():
        return 0
    weight = int(whole) * 1000 + int(fraction.ljust(3, "0"))
    return weight if weight <= 1000 else 0

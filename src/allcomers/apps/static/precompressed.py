"""Content codings that a client takes: the Accept-Encoding field (RFC 9110 section 12.5.3)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Coding(NamedTuple):
    """`name` in HTTP, and the ending that a file coded so has beside the plain one."""

    name: str
    ending: bytes


CODINGS = (Coding("br", b".br"), Coding("zstd", b".zst"), Coding("gzip", b".gz"))
"""In the order that decides between equal weights: the smallest first."""

MAX_FIELD = 256
"""Characters of an Accept-Encoding that is looked at, ten times a browser's; to a longer one we send plain files.
It also bounds what the cache below holds."""


def preferred(field: str) -> tuple[Coding, ...]:
    """The codings that the client likes at least as well as the plain file, the best first; () for no field.

    A plain file not mentioned is taken, but last (section 12.5.3, rule 2).
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
    """Coding → its weight in thousandths."""
    weights = {}
    for element in field.lower().split(","):
        name, _, parameter = element.partition(";")
        name = name.strip(" \t")
        weights["gzip" if name == "x-gzip" else name] = _weight(parameter.strip(" \t"))  # section 8.4.1.3
    return weights


def _weight(parameter: str) -> int:
    """Thousandths of "q=0.5", 1000 where it is missing; 0 for what is no weight: better plain than unreadable."""
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

"""Coded files that a client accepts in the place of a plain one (RFC 9110 section 12.5.3)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from allcomers.protocol.fields.accept_encoding import MAX_FIELD, weights


class Coding(NamedTuple):
    """A content coding: its `name` in HTTP, and the ending of a coded file beside the plain one."""

    name: str
    ending: bytes


CODINGS = (Coding("br", b".br"), Coding("zstd", b".zst"), Coding("gzip", b".gz"))
"""The codings in the order that decides between equal weights: the smallest first."""


def preferred(field: str) -> tuple[Coding, ...]:
    """Return the codings that the client prefers to the plain file, or likes as much, the best first; () for no field.

    A plain file not mentioned is acceptable, but last (section 12.5.3, rule 2).
    """
    return _preferred(field) if len(field) <= MAX_FIELD else ()


@lru_cache(maxsize=256)  # browsers send a handful of values
def _preferred(field: str) -> tuple[Coding, ...]:
    found = weights(field)
    others = found.get("*", 0)
    plain = found.get("identity", 0)
    weighed = [(found.get(coding.name, others), coding) for coding in CODINGS]
    weighed.sort(key=lambda pair: -pair[0])  # a stable sort: equal weights keep the order of CODINGS
    return tuple(coding for weight, coding in weighed if weight > 0 and weight >= plain)

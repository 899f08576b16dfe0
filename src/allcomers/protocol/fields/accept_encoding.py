"""The weights of content codings in an Accept-Encoding field (RFC 9110 section 12.5.3)."""

from __future__ import annotations

from typing import Final

MAX_FIELD: Final = 256
"""Characters of an Accept-Encoding that is parsed, ten times a browser's; for a longer one nothing is coded.
It also bounds the memory of the caches of those that call this."""


def weights(field: str) -> dict[str, int]:
    """Return the weights of codings, in thousandths, by their lower-case names; "*" stands for all others.

    A malformed weight is 0: better plain than unreadable.
    """
    found = {}
    for element in field.lower().split(","):
        name, _, parameter = element.partition(";")
        name = name.strip(" \t")
        if name:
            found["gzip" if name == "x-gzip" else name] = _weight(parameter.strip(" \t"))  # section 8.4.1.3
    return found


def _weight(parameter: str) -> int:
    """Return thousandths of "q=0.5"; 1000 for none; 0 for a malformed one."""
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

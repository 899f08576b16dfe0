"""The priority of a response: the Priority field, and the payload of PRIORITY_UPDATE (RFC 9218, 4 and 7.1)."""

from __future__ import annotations

import re
from typing import Final

DEFAULT: Final = (3, False)
"""Urgency, from 0 for the first to 7 for the last; and whether the response may be sent in turns with others."""

MAX_FIELD: Final = 256
"""Bytes of a value that is parsed; a longer one is ignored."""

_ITEM: Final = rb'(?:[A-Za-z*][!-+\--:<-~]*+|"[ !#-~\\]*+"|\?[01]|-?[0-9.]++|:[A-Za-z0-9+/=]*+:|\([^()]*+\))'
_KEY: Final = rb"[a-z*][a-z0-9_\-.*]*+"
_MEMBER: Final = re.compile(
    rb"(%b)(?:=(%b))?((?:; *%b(?:=%b)?)*+)(?:[ \t]*+,[ \t]*+(?=.)|\Z)" % (_KEY, _ITEM, _KEY, _ITEM)
)


def parse(value: bytes) -> tuple[int, bool]:
    """Return (urgency, incremental); the default for each that is missing or out of its range, and for both where the
    value is no dictionary of RFC 8941."""
    urgency, incremental = DEFAULT
    value = value.strip(b" ")
    if len(value) > MAX_FIELD:
        return DEFAULT
    at = 0
    while at < len(value):
        member = _MEMBER.match(value, at)
        if member is None:
            return DEFAULT
        name, item = member[1], member[2]
        if name == b"u":  # the last one of a name stands (RFC 8941, 3.2)
            urgency = int(item) if item is not None and re.fullmatch(rb"[0-7]", item) else DEFAULT[0]
        elif name == b"i":
            incremental = item in (None, b"?1")
        at = member.end()
    return urgency, incremental

"""Preconditions of a request: the verdict to send a response, or not (RFC 9110 section 13).

This file weighs entity tags and HTTP dates, in their order of strength. The calling handler acts on the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

from allcomers.protocol.dates import parse_http_date
from allcomers.protocol.fields.entity_tags import matches

CONDITIONAL = frozenset({"if-match", "if-unmodified-since", "if-none-match", "if-modified-since"})
"""The fields that `verdict` reads, lower-case."""


def verdict(headers: Mapping[str, str], etag: str, modified: int) -> int:
    """Return 200: send it; 304: the client has it already; 412: the client's condition does not hold.

    `etag` is strong and quoted; `modified` is seconds since 1970. For GET and HEAD of a file that exists, in the order
    of RFC 9110 section 13.2.2: a tag decides before a date.
    """
    wanted = headers.get("if-match")
    if wanted is not None:
        if not matches(wanted, etag, weak=False):
            return 412
    elif _later(modified, headers.get("if-unmodified-since")) is True:
        return 412
    known = headers.get("if-none-match")
    if known is not None:
        return 304 if known == etag or matches(known, etag, weak=True) else 200
    return 304 if _later(modified, headers.get("if-modified-since")) is False else 200


def range_holds(if_range: str | None, etag: str, modified: int) -> bool:
    """Return True if a Range counts: If-Range is missing, or names exactly our file (section 13.1.5)."""
    if if_range is None or if_range == etag:  # as a string, so that a weak tag is never equal
        return True
    return '"' not in if_range and parse_http_date(if_range) == modified


def _later(modified: int, date: str | None) -> bool | None:
    """Return True if the file is younger than `date`; None where that is missing or no date, and so does not count."""
    seconds = None if date is None else parse_http_date(date)
    return None if seconds is None else modified > seconds

"""Preconditions of a request: may this answer be sent, and need it be? (RFC 9110 section 13.)

This file knows entity tags, HTTP dates and their order of strength. What is done about a verdict is known by
the handler that asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from allcomers.protocol.dates import parse_http_date

CONDITIONAL = frozenset({"if-match", "if-unmodified-since", "if-none-match", "if-modified-since"})
"""The fields that `verdict` looks at, lower-case."""


def verdict(headers: Mapping[str, str], etag: str, modified: int) -> int:
    """200: send it; 304: the client has it already; 412: the client's condition does not hold.

    `etag` is strong and quoted; `modified` is seconds since 1970. For GET and HEAD of something that exists, in
    the order of RFC 9110 section 13.2.2: a tag decides before a date is looked at.
    """
    wanted = headers.get("if-match")
    if wanted is not None:
        if not _matches(wanted, etag, weak=False):
            return 412
    elif _later(modified, headers.get("if-unmodified-since")) is True:
        return 412
    known = headers.get("if-none-match")
    if known is not None:
        return 304 if known == etag or _matches(known, etag, weak=True) else 200
    return 304 if _later(modified, headers.get("if-modified-since")) is False else 200


def range_holds(if_range: str | None, etag: str, modified: int) -> bool:
    """Whether a Range may be looked at: If-Range is missing, or names exactly what we have (section 13.1.5)."""
    if if_range is None or if_range == etag:  # as a string: a weak tag never is the same
        return True
    return '"' not in if_range and parse_http_date(if_range) == modified


def _later(modified: int, date: str | None) -> bool | None:
    """Whether the file is younger than `date`; None where that is missing or no date: it counts for nothing."""
    seconds = None if date is None else parse_http_date(date)
    return None if seconds is None else modified > seconds


def _matches(field: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of tags has ours; a weak one (W/) counts only where `weak` (section 8.8.3.2)."""
    if field.strip(" \t") == "*":
        return True
    return any(tag == etag and (weak or not is_weak) for tag, is_weak in _tags(field))


def _tags(field: str) -> Iterator[tuple[str, bool]]:
    """Each entity tag with its quotes, and whether it is weak. One pass: a tag cannot hold a quote."""
    parts = field.split('"')
    for before, tag, _after in zip(parts[0::2], parts[1::2], parts[2::2], strict=False):  # without an end it is none
        yield f'"{tag}"', before.endswith("W/")

"""Preconditions of a request: may this answer be sent, and need it be? (RFC 9110 section 13.)

This file knows entity tags, HTTP dates and their order of strength. What is done about a verdict is known by
the handler that asks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

CONDITIONAL = frozenset({"if-match", "if-unmodified-since", "if-none-match", "if-modified-since"})
"""The fields that `verdict` looks at, lower-case."""


@lru_cache(maxsize=1024)  # one site has few different dates, and each is asked for again and again
def http_date(seconds: int) -> str:
    """`seconds` since 1970 as an HTTP date: "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7).

    Not strftime, whose names of days and months follow the locale.
    """
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(seconds)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def parse_http_date(text: str) -> int | None:
    """Seconds since 1970; None for what is no date. All three forms are read (RFC 9110 section 5.6.7)."""
    try:
        match text.replace("-", " ").split(" "):
            case [_, day, month, year, clock, "GMT"]:  # Sun, 06 Nov 1994; and Sunday, 06-Nov-94
                return _seconds(year, month, day, clock)
            case [_, month, day, clock, year] | [_, month, "", day, clock, year]:  # Sun Nov  6 08:49:37 1994
                return _seconds(year, month, day, clock)
    except ValueError:
        pass
    return None


def _seconds(year: str, month: str, day: str, clock: str) -> int:
    """Seconds since 1970. Raises ValueError where a part is no number or out of its range."""
    hour, minute, second = clock.split(":")
    full_year = _number(year) if len(year) == 4 else _century(_number(year))
    moment = datetime(
        full_year,
        _MONTHS.index(month) + 1,
        _number(day),
        _number(hour),
        _number(minute),
        min(_number(second), 59),  # a leap second is 60, and datetime has none
        tzinfo=UTC,
    )
    return int(moment.timestamp())


def _century(year: int) -> int:
    """A year of two digits is never more than 50 years ahead (RFC 9110 section 5.6.7)."""
    now = time.gmtime().tm_year
    full = now - now % 100 + year
    return full - 100 if full > now + 50 else full


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):  # int() takes "+1", "1_0" and Arabic digits too
        raise ValueError(text)
    return int(text)


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

"""Dates as HTTP writes them (RFC 9110, 5.6.7)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=1024)  # one site has few different dates, and needs each again and again
def http_date(seconds: int) -> str:
    """Return `seconds` since 1970 as an HTTP date: "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7).

    Not strftime, whose names of days and months follow the locale.
    """
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(seconds)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def parse_http_date(text: str) -> int | None:
    """Return seconds since 1970, from any of the three forms (RFC 9110 section 5.6.7); None for what is no date."""
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
    """Return seconds since 1970. Raises ValueError where a part is no number or out of its range."""
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
    """Return the full year of a year of two digits, at most 50 years ahead (RFC 9110 section 5.6.7)."""
    now = time.gmtime().tm_year
    full = now - now % 100 + year
    return full - 100 if full > now + 50 else full


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):  # int() takes "+1", "1_0" and Arabic digits too
        raise ValueError(text)
    return int(text)

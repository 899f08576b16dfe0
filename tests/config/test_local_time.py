"""The zone of log lines: it has the offsets of localtime(3), and keeps them when the process's zone changes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from allcomers.config.local_time import zone_since

START = 1_764_547_200  # 2025-12-01
YEAR = 365 * 86_400


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("UTC0", 0),
        ("IST-5:30", 0),
        ("EST5EDT,M3.2.0,M11.1.0", 56),
        ("LHST-10:30LHDT-11,M10.1.0,M4.1.0", 56),  # half an hour, and the year begins in summer
        ("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", 56),
        ("America/New_York", 56),
        ("Africa/Casablanca", 58),  # Ramadan moves
    ],
)
def test_offsets_are_those_of_the_system_for_28_years(zone: Any, rule: str, changes: int) -> None:
    zone(rule)
    found = zone_since(START)
    if "/" in rule and not found.offsets[0]:
        pytest.skip("there is no tz database")
    assert len(found.changes) == changes
    assert len(found.offsets) == changes + 1
    for change, before, after in zip(found.changes, found.offsets, found.offsets[1:], strict=False):
        assert (found.offset(change - 1), found.offset(change)) == (before, after)
        assert (time.localtime(change - 1).tm_gmtoff, time.localtime(change).tm_gmtoff) == (before, after)
    for when in range(START, START + 28 * YEAR, 86_399):
        assert found.offset(when) == time.localtime(when).tm_gmtoff


def test_the_rule_holds_before_and_after_that(zone: Any) -> None:
    zone("EST5EDT,M3.2.0,M11.1.0")
    found = zone_since(START)
    for when in range(START - 40 * YEAR, START + 70 * YEAR, 7 * 86_399):  # 1985 to 2095
        assert found.offset(when) == time.localtime(when).tm_gmtoff


KEPT = """
import os, time
from allcomers.config import local_time
local_time.keep_zone()
os.environ["TZ"] = "JST-9"
time.tzset()
local_time.keep_zone()
print(local_time.iso_milliseconds(1767225600.1234), local_time.iso(1783123200.9), time.strftime("%z"))
del os.environ["TZ"]
os.environ["TZ"] = "IST-5:30"
local_time.iso(0)
print(time.localtime().tm_gmtoff)
"""


def test_a_zone_is_kept_and_left_alone() -> None:
    """The lines are in the zone of the start, in summer too, and to write them does not set the process's zone."""
    command, env = [sys.executable, "-c", KEPT], os.environ | {"TZ": "EST5EDT,M3.2.0,M11.1.0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "2025-12-31T19:00:00.123-05:00 2026-07-03T20:00:00-04:00 +0900",
        "32400",
    ]

"""The table of a load, as wide as the terminal: no figure is cut, bars get shorter, a pipe has all."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.load.report.figures import Row, Section
from allcomers.commands.load.report.terminal import text

TIMES = Section(
    "Response time",
    [
        Row("p50", "134 µs", "service 120 µs", 0.5),
        Row("p99.99", "12,345 ms", "", 1.0),
        Row("max", "12,346 ms", "", -1.0),
    ],
)
CONNECTIONS = Section("Requests", [Row("connections", "10,000", "held of 10,000 planned; 12,345 opened in total")])
WARNING = Section("Not to be trusted", [Row("!", "the server and the load ran on the same core", good=False)])
ALL = (TIMES, CONNECTIONS, WARNING)


def test_a_pipe_has_all_in_one_line_each() -> None:
    assert text("closed loop", ALL).splitlines() == [
        "closed loop",
        "",
        "Response time",
        "     p50     134 µs  ████████████████                  service 120 µs",
        "  p99.99  12,345 ms  ████████████████████████████████",
        "     max  12,346 ms",
        "",
        "Requests",
        "  connections  10,000    held of 10,000 planned; 12,345 opened in total",
        "",
        "Not to be trusted",
        "  !  the server and the load ran on the same core",
    ]


def test_bars_get_shorter_then_leave() -> None:
    bars = [max(text("", [TIMES], width).count("█", 40), 0) for width in (100, 60, 46, 44)]
    assert bars[0] > bars[1] > bars[2] > bars[3] == 0


def test_a_note_goes_on_in_the_next_line() -> None:
    assert text("", [CONNECTIONS], 48).splitlines()[3:] == [
        "  connections  10,000    held of 10,000 planned;",
        "                         12,345 opened in total",
    ]
    assert text("", [CONNECTIONS], 40).splitlines()[3:] == [
        "  connections  10,000",
        "               held of 10,000 planned;",
        "               12,345 opened in total",
    ]


@given(st.integers(24, 100), st.booleans())
def test_no_figure_is_cut_and_no_line_too_wide(width: int, coloured: bool) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", text("closed loop", ALL, width, coloured))
    assert max(map(len, shown.splitlines())) <= width
    for section in ALL:
        for row in section.rows:
            assert " ".join(row.value.split()) in " ".join(shown.split())
            assert " ".join(row.note.split()) in " ".join(shown.split())

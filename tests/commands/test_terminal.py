"""Text for a terminal: columns leave by priority, no cell is cut, a pipe has room for everything."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.terminal import Column, bar, columns, line, paragraph, refilled, table

HEADS = (Column("name", left=True), Column("rate"), Column("p99", 1), Column("memory", 2))
ROWS = (("epoll", "12,345,678", "1.25 ms", "38 KB"), ("thread", "9", "12 ms", "1.5 MB"))


def lines(width: int | None) -> list[str]:
    return [line(cells) for cells in table(HEADS, ROWS, width)]


def test_a_pipe_has_all_columns() -> None:
    assert lines(None) == [
        "name          rate      p99  memory",
        "epoll   12,345,678  1.25 ms   38 KB",
        "thread           9    12 ms  1.5 MB",
    ]


@pytest.mark.parametrize(("width", "head"), [(35, 4), (34, 3), (27, 3), (26, 2), (18, 2), (5, 2)])
def test_the_least_important_leave_first(width: int, head: int) -> None:
    assert len(table(HEADS, ROWS, width)[0]) == head


def test_a_column_without_a_figure_is_left_out() -> None:
    assert table(HEADS, [("epoll", "1", "", "2 KB")], None)[0] == ["name ", "rate", "memory"]


@given(st.integers(1, 60), st.lists(st.tuples(*[st.integers(0, 10**9).map("{:,}".format)] * 4), min_size=1, max_size=4))
def test_no_digit_is_cut(width: int, rows: list[tuple[str, ...]]) -> None:
    shown = table(HEADS, rows, width)
    for row, cells in zip(rows, shown[1:], strict=True):
        assert [cell.strip() for cell in cells] == list(row[: len(cells)])
    if len(shown[0]) > 2:
        assert all(len(line(cells)) <= width for cells in shown)


def test_a_paragraph_is_one_line_for_a_pipe_and_cuts_no_word() -> None:
    text = "Run allcomers-lab/allcomers.toml with --graceful-timeout and nothing else"
    assert paragraph(text, None) == text
    assert paragraph(text, 30).splitlines() == [
        "Run", "allcomers-lab/allcomers.toml", "with --graceful-timeout and", "nothing else",
    ]  # fmt: skip
    assert max(map(len, paragraph(text * 9, 500).splitlines())) <= 100


def test_help_is_refilled_where_it_is_too_wide() -> None:
    text = "usage: allcomers top [ADDR]\n\nShow the live figures\nof a server.\n\n  allcomers run app:app --reload\n"
    assert refilled(text, None) == refilled(text, 80) == text
    assert refilled(text, 20).splitlines() == [
        "usage: allcomers top", "[ADDR]", "", "Show the live", "figures of a server.", "", "  allcomers run",
        "    app:app --reload",
    ]  # fmt: skip


def test_the_width_is_the_terminals() -> None:
    master, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 63, 0, 0))
    with os.fdopen(terminal, "w", encoding="utf-8") as stream, os.fdopen(master, "rb"):
        assert columns(stream) == 63
    assert columns(io.StringIO()) is None


def test_a_bar_is_exact_to_an_eighth() -> None:
    assert [bar(share, 2) for share in (-1.0, 0.0, 0.25, 0.5, 0.5625, 1.0, 7.0)] == ["", "", "▌", "█", "█▏", "██", "██"]

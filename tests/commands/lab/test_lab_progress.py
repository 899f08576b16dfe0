"""The progress of a lab: a line that is rewritten on a terminal, a line for each stage elsewhere."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import termios

from allcomers.commands.lab.data.plan import Stage
from allcomers.commands.lab.report.progress import Progress
from support.measured import EPOLL, POOL, WAITS

ERASED = b"\r\x1b[K"
SCREEN = Stage(kind="screen", entrants=(EPOLL, POOL), rounds=1, steps=(64,), seconds=1.0)


def run(progress: Progress) -> None:
    with progress:
        progress.probed(WAITS)
        progress.stage(SCREEN)
        progress.trial(1, spent=30.0)
        progress.activity("epoll + pool of 64: 64 clients")


def test_a_pipe_has_a_line_for_each_stage() -> None:
    out = io.StringIO()
    run(Progress(120.0, out))
    assert out.getvalue().splitlines() == [
        "A lone request takes 10 ms, 300 µs of it on a core.",
        "1 of 3, first look: 2 candidates",
    ]


def test_a_terminal_has_one_that_fits_and_is_erased() -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as out, os.fdopen(ours, "rb", buffering=0) as screen:
        run(Progress(120.0, out))
        out.flush()
        seen = b""
        while seen.count(ERASED) < 4:  # before the first line, at two updates, at the end
            seen += screen.read(65536)
    *_, drawn, erased = seen.decode().split(ERASED.decode())
    assert erased == ""
    assert len(drawn) < 60
    assert drawn.startswith("█████ ")
    assert "1:30 left  1 of 3, first look," in drawn

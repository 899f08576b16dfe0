"""What commands print: help that fits the terminal, and silence where nobody reads."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence

import pytest

from support.harness import ROOT, serving

HELPS = (
    ("--help",), ("run", "--help-all"), ("serve", "--help"), ("dev", "--help"), ("doctor", "--help"),
    ("models", "--help"), ("models",), ("load", "--help"), ("lab", "--help"), ("top", "--help"),
    ("completions", "--help"),
)  # fmt: skip


def command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "allcomers", *arguments]


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_fits_the_terminal(arguments: Sequence[str]) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 48, 0, 0))
    process = subprocess.Popen(command(arguments), cwd=ROOT, stdout=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    output = b""
    try:
        while data := os.read(ours, 65536):
            output += data
    except OSError:  # Linux's end of a terminal that nobody has open
        pass
    assert process.wait(30) == 0
    os.close(ours)
    lines = output.decode().splitlines()
    assert len(lines) > 3
    words = {line for line in lines if len(line) > 48}
    assert not {line for line in words if " " in line.strip()}, "a word may be too long, a line may not"


@pytest.mark.parametrize(
    "arguments", [*HELPS, ("completions", "bash"), ("doctor",), ("run", "app:app", "--print-config")], ids=" ".join
)
def test_a_reader_that_has_gone_is_no_error(arguments: Sequence[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command(arguments), cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_report_that_nobody_reads_leaves_the_files(tmp_path: object) -> None:
    with serving("run", "examples/calls.py:AtOnce") as server:
        read, write = os.pipe()
        os.close(read)
        url, file = f"http://{server.address[0]}:{server.address[1]}/", f"{tmp_path}/load.json"
        done = subprocess.run(
            command(("load", url, "-n", "20", "--json", file)),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    with open(file, encoding="utf-8") as found:  # noqa: PTH123
        assert '"answered"' in found.read()

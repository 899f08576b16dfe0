"""The examples are whole."""

from __future__ import annotations

import subprocess
import sys

from harness import ROOT


def test_what_is_packed_is_what_the_site_says() -> None:
    """A stale .gz beside a page would be served in its place, from a clone where both are of one second."""
    command = [sys.executable, "examples/media/make.py", "check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr

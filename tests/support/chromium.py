"""Debian's Chromium, as the tests of pages have it; its fixture `browser` is in conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

NEEDED = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="there is no Chromium here (apt install chromium)"),
]
"""The marks of a module whose tests drive it."""

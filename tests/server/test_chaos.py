"""A short form of `make chaos`: two models, some seconds each."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.harness import ROOT


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("model", "calls"), [("epoll", "pool"), ("asyncio", "inline")])
def test_chaos_leaves_nothing_behind(model: str, calls: str) -> None:
    command = [sys.executable, "-m", "chaos", "--seconds", "15", "--models", model, "--calls", calls]
    path = os.pathsep.join((str(ROOT / "tests"), str(ROOT)))
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""Three nodes behind a balancer, which load for a while: `make conformance` restarts one after another under load."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest
from bench.life import rolling

from support.harness import chosen

LOADS = 2.0
"""Seconds for which a node loads its app: a fifth of the requests would wait for more than one, if they waited."""


@pytest.mark.parametrize("model", chosen([], ["epoll", "thread", "asyncio"]))
@pytest.mark.parametrize("balancer", ["haproxy", "nginx"])
def test_a_rolling_restart_keeps_nobody_waiting(tmp_path: Path, balancer: str, model: str) -> None:
    if not (shutil.which(balancer) or shutil.which(f"/usr/sbin/{balancer}")):
        pytest.skip(f"{balancer} is not installed")
    args = argparse.Namespace(loads=LOADS, rate=50.0, model=model, drain_delay=0.0, no_wait=False)
    found = rolling.measure(balancer, "ready", args, tmp_path)
    assert found["failures"] == []
    assert found["late"] <= 0.02 * found["sent"], found

"""The processes that listen at an address, and two processes on the same core."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from allcomers.commands.load.data.cores import CoreSampler, server_pids
from allcomers.commands.load.data.plan import Plan, resolve
from support.harness import wait_for

CORES = sorted(os.sched_getaffinity(0))


def test_the_listening_process_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        destination = resolve(Plan.make(url=f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        assert server_pids(destination) == [os.getpid()]
    assert server_pids(destination) == []


@contextmanager
def busy(core: int) -> Iterator[int]:
    """A process that does nothing but use this core."""
    process = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.sched_setaffinity(0, [core])
    )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(len(CORES) < 2, reason="there is one core")
@pytest.mark.parametrize(("ours", "shared"), [(CORES[0], 1.0), (CORES[-1], 0.0)])
def test_two_processes_on_one_core_are_detected(ours: int, shared: float) -> None:
    with busy(CORES[0]) as server, busy(ours) as load:
        sampler = CoreSampler([server], [load])

        def looked() -> bool:
            sampler.sample()
            return sampler.samples >= 3

        wait_for(looked, "both to use CPU")
        assert sampler.shared == shared


def test_a_process_that_has_ended_is_left_out() -> None:
    sampler = CoreSampler([1 << 30], [os.getpid()])
    sampler.sample()
    sampler.sample()
    assert (sampler.samples, sampler.shared) == (0, 0.0)

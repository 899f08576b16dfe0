"""The load's figures beside the truth: a server in a process of its own, with known response times."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import suppress
from functools import partial

from allcomers.commands.load.data.result import Result
from allcomers.commands.load.run.precise_wait import PreciseWait, now_ns
from support.harness import PATIENCE, ROOT

SERVICE = 0.006
TRIES = 20


def run_first(priority: int) -> None:
    """Have this process run before all others that wait for a core, where that is permitted (sched(7)): it is the
    generator that is measured, not how busy the machine is."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))


def measured() -> Result:
    """Return the result of `allcomers load` for bench/measuring/known.py."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.measuring.known", str(SERVICE)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=partial(run_first, 2),
    ) as server:  # fmt: skip
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        done = subprocess.run(
            [sys.executable, "-m", "allcomers", "load", url, "-q", "--json", "-", "-r100", "-n100"],
            capture_output=True, text=True, timeout=PATIENCE, check=True, preexec_fn=partial(run_first, 1),
        )  # fmt: skip
        server.communicate(timeout=PATIENCE)
    return Result.from_json(done.stdout)


def test_response_times_are_within_3_percent_of_the_truth() -> None:
    """With a constant response time of 6 ms; and requests are sent when they are due.

    Other processes on the machine add to the times, and never shorten them: so none may be below, and the twentieth
    that was disturbed least, in one of several runs, must be as good as the generator is. All of them, and a queue, on
    a quiet machine: `python -m bench generator --parts truth`.
    """
    over, late = [], []
    for _ in range(TRIES):
        found = measured()
        assert (found.answered, found.failed) == (100, 0)
        assert found.response.min >= SERVICE * 0.999
        over.append(found.response.percentile(5) / SERVICE)
        late.append(found.lateness.percentile(5))
        if min(over) < 1.03 and min(late) < 30e-6:  # one that sleeps until a request is due is woken later than that
            return
    raise AssertionError(f"the best of {TRIES} runs is {min(over):.3f} of the truth, {1e6 * min(late):.0f} µs late")


def moments_kept(responses: bool) -> list[int]:
    """Return how late (ns) a PreciseWait is at moments 3 ms ahead, one after another."""
    late = []
    with select.epoll() as epoll:
        waiting = PreciseWait(epoll, 1)
        for _ in range(100):
            moment = now_ns() + 3_000_000
            while now_ns() < moment:
                assert waiting.poll_until(moment, responses) == []
            late.append(now_ns() - moment)
        assert waiting.spun > 0
    return sorted(late)


def test_it_returns_on_time() -> None:
    for responses in (False, True):
        assert moments_kept(responses)[10] < 20_000


def spun_share() -> float:
    """Return how much of 1.5 s, while a response is awaited, a PreciseWait spins."""
    with select.epoll() as epoll:
        waiting = PreciseWait(epoll, 1)
        began = now = now_ns()
        while now < began + 1_500_000_000:
            waiting.poll_until(now + 3_000_000, awaits_responses=True)
            now = now_ns()
    return waiting.spun / (now - began)


def test_it_sleeps_while_another_wants_its_core() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"], stdout=subprocess.DEVNULL)
    try:
        # It detects the other by its preemptions, which the kernel of a busy machine may make seldom for a while. A
        # PreciseWait that does not yield spins all the time, each time.
        assert any(spun_share() < 0.5 for _ in range(TRIES))
    finally:
        hog.kill()
        hog.wait()
        os.sched_setaffinity(0, before)

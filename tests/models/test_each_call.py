"""The n-th of every other system call that a step makes fails, for every n of a small scenario; and memory ends.

As in test_faults.py: the same worker is there and serves, at most one peer has suffered, no descriptor is left open.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from support.faults.server import assert_one_suffers, conversation, faulty
from support.harness import chosen

LOOPS = ["select", "poll", "epoll", "epoll-et", "asyncio"]
BLOCKING = ["thread", "thread-pool", "process", "iterative"]
MODELS = LOOPS + BLOCKING

FAULTS = [
    ("close", errno.EIO),
    ("write", errno.ENOSPC),
    ("write", errno.EIO),
    ("epoll_ctl", errno.ENOMEM),
    ("getsockopt", errno.ENOBUFS),
    ("setsockopt", errno.ENOBUFS),
    ("fstat", errno.EIO),
    ("mmap", errno.ENOMEM),
    ("eventfd", errno.EMFILE),
    ("pipe", errno.EMFILE),
]


WHERE = ["inline", "pool", "auto", "pool", "inline", "pool", "inline", "inline", "pool"]
PAIRS = chosen(
    list(zip(MODELS, WHERE, strict=True)), [(model, calls) for model in MODELS for calls in ("inline", "pool", "auto")]
)


@pytest.mark.parametrize(("model", "calls"), PAIRS)
def test_each_system_call_may_fail(tmp_path: Path, model: str, calls: str) -> None:
    """An own pipe that cannot be written to, a poller that takes no descriptor, a disk that is full: one peer's."""
    most = 1000 if chosen((), (True,)) else 5
    with faulty(tmp_path, model, "--calls", calls, quiet=False) as place:
        count = dict.fromkeys(kind for kind, _ in FAULTS)
        for kind, error in FAULTS:
            if (kind, model) == ("mmap", "thread"):
                continue  # Thread.start() waits for ever for a thread that had no memory to begin (CPython)
            runs = [*place.fail_each(conversation, kind, error, most)]
            for outcomes in runs:
                assert_one_suffers(outcomes, "500", "503", "cut")
            count[kind] = len(runs)
        assert count["close"]
        assert count["write"]
        assert count["fstat"]
        assert bool(count["epoll_ctl"]) is (model in ("epoll", "epoll-et", "asyncio"))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring injects the error")
@pytest.mark.parametrize("model", MODELS)
def test_memory_may_end_in_each_step(tmp_path: Path, model: str) -> None:
    """MemoryError where any function of a driver or a connection begins: some of them here, all in the whole sweep."""
    most, step = (10_000, 1) if chosen((), (True,)) else (10, 61)
    with faulty(tmp_path, model, quiet=False, env={"FAULTS_OF_MEMORY": "1"}) as place:
        count = 0
        for outcomes in place.fail_each(conversation, "memory", errno.ENOMEM, most, step=step):
            assert_one_suffers(outcomes, "500", "503", "cut")
            count += 1
        assert count > 3


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_a_listener_that_reports_nothing_is_served_all_the_same(tmp_path: Path, model: str) -> None:
    """Of several workers, each looks up how many peers wait (getsockopt): where that fails, it accepts without."""
    with faulty(tmp_path, model, "--workers", "2", quiet=False) as place:
        for number in range(1, 4):
            place.faults.arm("getsockopt", number, errno.ENOBUFS)
            assert set(conversation(place.server)) == {"good"}
            place.faults.disarm()
        assert place.server.workers() == place.workers

"""The queue of jobs: each is taken once, by a thread that waits for it, however many there are."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from allcomers.calls.queue import WorkQueue


@pytest.fixture
def jobs() -> WorkQueue[int | None]:
    found: WorkQueue[int | None] = WorkQueue()
    found.open()
    return found


def taking(jobs: WorkQueue[int | None], count: int) -> tuple[list[threading.Thread], SimpleQueue[int]]:
    """So many threads, each of which takes until it gets None; what they took."""
    taken: SimpleQueue[int] = SimpleQueue()

    def take() -> None:
        while (job := jobs.get()) is not None:
            taken.put(job)

    threads = [threading.Thread(target=take, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, taken


def finish(jobs: WorkQueue[int | None], threads: list[threading.Thread]) -> None:
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_in_order(jobs: WorkQueue[int | None]) -> None:
    for number in range(100):
        jobs.put(number)
    assert [jobs.get() for _ in range(100)] == list(range(100))


def test_each_job_is_taken_once_by_threads_that_wait(jobs: WorkQueue[int | None]) -> None:
    threads, taken = taking(jobs, 8)

    def put(begin: int) -> None:
        for number in range(begin, begin + 2000):
            jobs.put(number)

    putting = [threading.Thread(target=put, args=(number * 2000,)) for number in range(4)]
    for thread in putting:
        thread.start()
    assert sorted(taken.get(timeout=20) for _ in range(8000)) == list(range(8000))
    for thread in putting:
        thread.join()
    finish(jobs, threads)
    assert taken.empty()


def test_more_jobs_than_a_pipe_holds_and_then_few(jobs: WorkQueue[int | None]) -> None:
    for number in range(200_000):  # nobody takes one yet: who puts must not wait
        jobs.put(number)
    threads, taken = taking(jobs, 4)
    assert sorted(taken.get(timeout=20) for _ in range(200_000)) == list(range(200_000))
    for number in range(1000):
        jobs.put(number)
        assert taken.get(timeout=20) == number
    finish(jobs, threads)


def test_to_open_it_again_changes_nothing(jobs: WorkQueue[int | None]) -> None:
    jobs.put(1)
    jobs.open()
    assert jobs.get() == 1

"""Workers by demand: the policy in a simulation, the measure of real rows, and a server that grows and goes back."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allcomers.config import options
from allcomers.config.checks import WorkerRange, worker_count
from allcomers.config.sources import gather, to_toml
from allcomers.errors import ConfigError
from allcomers.server.supervisor.demand import policy
from allcomers.server.supervisor.demand.meter import Meter
from allcomers.server.supervisor.demand.policy import HIGH, PAUSE, SHRINK_AFTER, DemandPolicy, Load, Reason
from allcomers.server.supervisor.demand.scaler import Scaler
from allcomers.server.supervisor.demand.worker_count import WorkerCount
from allcomers.system import counters
from allcomers.system.counters import CounterBoard
from server.admin.test_admin import Admin
from server.test_upgrade import upgrade, upgrading
from support.crowd import crowd, receive, request
from support.harness import serving, wait_for
from support.staged import App, children

CORES = 64.0

# ------------------------------------------------------------ the option


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("1-8", 1, 8), ("3-1024", 3, 1024), ("1024-auto", 0, 1024), ("4-4", 0, 4), ("auto-1", 0, 1)],
)
def test_a_range_is_read(text: str, least: int, most: int) -> None:
    found = worker_count(text)
    assert int(found) == most
    assert getattr(found, "least", 0) == least
    assert str(found) == (text if least else str(most))


@pytest.mark.parametrize("text", ["8-1", "0-4", "1-", "-4", "1-1025", "1-2-3", "1 - 8", "1-x"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        worker_count(text)


def test_a_range_is_no_number() -> None:
    assert WorkerRange(1, 8) == worker_count("1-8")
    assert WorkerRange(1, 8) != WorkerRange(2, 8)
    assert WorkerRange(1, 8) != 8  # a reload from one to the other is a change
    assert options.make({"workers": "1-8"}).workers > 1  # what many workers need is made for the most


def test_a_range_is_printed_as_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "printed.toml"
    for text in ("1-8", "1-auto"):
        shown = gather("serve", {"workers": (text, "--workers")}, {})
        file.write_text(to_toml(shown))
        again = gather("serve", {}, {}, file=str(file))
        assert again.config.workers == shown.config.workers
        assert f'workers = "{text}"' in file.read_text()


# ------------------------------------------------------------ the count


def test_signals_move_the_count_within_its_range() -> None:
    count = WorkerCount(WorkerRange(2, 3))
    seen = []
    for by in (1, 1, -1, -1):
        count.scale(by)
        seen.append(count.wanted)
    assert seen == [3, 3, 2, 2]


def test_a_reload_keeps_the_count_as_far_as_the_range_goes() -> None:
    count = WorkerCount(WorkerRange(1, 8))
    count.scale(4)
    count.allow(WorkerRange(1, 6))
    assert count.wanted == 5
    count.allow(WorkerRange(1, 3))
    assert count.wanted == 3
    count.allow(7)
    assert (count.wanted, count.range) == (7, None)


def test_a_new_server_begins_with_as_many_as_the_old_one_had() -> None:
    by_demand, fixed = WorkerCount(WorkerRange(1, 4)), WorkerCount(2)
    for count in (by_demand, fixed):
        count.resume(9)
    assert (by_demand.wanted, fixed.wanted) == (4, 2)


# ------------------------------------------------------------ the policy, simulated

START = 2
"""Seconds until a new worker serves."""


class Simulation:
    """A server whose load is a course: the workers' worth of work that is offered in each second.

    `cores` are for this server alone. `hidden`: no figure shows that workers are busy, only that calls wait.
    changes  (second, workers from then on) of each change
    """

    def __init__(self, least: int, most: int, cores: float = CORES, hidden: bool = False) -> None:
        self.policy = DemandPolicy(least, most)
        self.wanted = least
        self.changes: list[tuple[int, int]] = []
        self.second = 0
        self._cores = cores
        self._hidden = hidden
        self._serving = least
        self._ready: list[int] = []  # when those that start will serve

    def run(self, course: Callable[[int], float], seconds: int) -> None:
        for _ in range(seconds):
            self.step(course(self.second))

    def step(self, work: float) -> None:
        self.second += 1
        self._serving += sum(when == self.second for when in self._ready)
        able = min(self._serving, self._cores)
        done = min(work, able)
        is_late = work > able
        load = Load(
            serving=self._serving,
            busy=0.0 if self._hidden else done,
            wait=math.inf if is_late else 0.0,
            refused=0,
            cpu=done,
            cores=self._cores,
            spare=self._cores - done,
        )
        reason = self.policy.look(float(self.second), self.wanted, load)
        if reason is not None:
            by = -1 if reason is Reason.IDLE else 1
            self.wanted += by
            self.changes.append((self.second, self.wanted))
            if by > 0:
                self._ready.append(self.second + START)
            else:
                self._serving -= 1


courses = st.lists(st.tuples(st.floats(0, 12), st.integers(1, 200)), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(course=courses, least=st.integers(1, 4), more=st.integers(1, 6), cores=st.sampled_from([1.0, 2.0, CORES]))
def test_any_course_keeps_the_bounds_and_changes_seldom(
    course: list[tuple[float, int]], least: int, more: int, cores: float
) -> None:
    simulation = Simulation(least, least + more, cores)
    for work, seconds in course:
        simulation.run(lambda second, work=work: work, seconds)
    counts = [least, *(count for _, count in simulation.changes)]
    assert all(least <= count <= least + more for count in counts)
    shrinks = sum(after < before for before, after in pairwise(counts))
    assert shrinks <= simulation.second / SHRINK_AFTER
    assert len(simulation.changes) <= 2 * shrinks + more  # each growth has a place, or one that a shrink has left
    times = [second for second, _ in simulation.changes]
    assert all(after - before > PAUSE for before, after in pairwise(times))


@settings(max_examples=20, deadline=None)
@given(before=st.floats(0, 12), work=st.floats(0, 12), hidden=st.booleans())
def test_a_constant_load_settles_and_stays(before: float, work: float, hidden: bool) -> None:
    simulation = Simulation(1, 10, hidden=hidden)
    simulation.run(lambda second: before, 300)
    simulation.run(lambda second: work, 2000)
    settled = simulation.second
    simulation.run(lambda second: work, 20_000)
    late = [change for change in simulation.changes if change[0] > settled]
    # Where no figure shows what a worker is good for, each must be missed to be known: at ever longer intervals.
    assert len(late) <= (2 * (20_000 / policy.LONGEST + 3) if hidden else 0)
    assert hidden or simulation.wanted == 10 or work <= HIGH * simulation.wanted


@pytest.mark.parametrize("work", [0.79, 0.81, 1.59, 1.61, 2.41, 3.99])
def test_a_load_for_which_one_more_is_just_enough_brings_that_one(work: float) -> None:
    simulation = Simulation(1, 10)
    simulation.run(lambda second: work, 5000)
    assert simulation.wanted == math.ceil(work / HIGH)
    assert len(simulation.changes) == simulation.wanted - 1


@settings(max_examples=20, deadline=None)
@given(
    high=st.integers(2, 400), low=st.integers(2, 400), peak=st.floats(0.9, 6), base=st.floats(0, 0.4),
)  # fmt: skip
def test_square_waves_do_not_flap(high: int, low: int, peak: float, base: float) -> None:
    """A worker that goes in each trough is missed within REGRET times its wait, or was idle for most of the wave."""
    simulation = Simulation(1, 8)
    period = high + low
    simulation.run(lambda second: peak if second % period < high else base, 40 * period)
    settled = [change for change in simulation.changes if change[0] > 20 * period]
    downs = sum(after < before for (_, before), (_, after) in pairwise(settled))
    if low <= (1 + policy.REGRET) * SHRINK_AFTER - PAUSE - 10:
        assert downs <= 6, simulation.changes  # an hour later it may be tried again
    else:
        assert downs <= 20 * 7


def test_no_worker_starts_where_the_machine_has_no_core_left() -> None:
    simulation = Simulation(1, 8, cores=2.0)
    simulation.run(lambda second: 8.0, 600)
    assert simulation.wanted == 2


def test_a_short_peak_starts_none() -> None:
    simulation = Simulation(1, 8)
    simulation.run(lambda second: 1.0 if second % 10 < 2 else 0.0, 600)
    assert simulation.changes == []


def test_it_grows_soon_and_shrinks_late() -> None:
    simulation = Simulation(1, 3)
    simulation.run(lambda second: 9.0, 30)
    assert simulation.wanted == 3
    assert simulation.changes[0][0] <= 8
    began = simulation.second
    simulation.run(lambda second: 0.0, 300)
    downs = [second - began for second, _ in simulation.changes[2:]]
    assert simulation.wanted == 1
    assert SHRINK_AFTER <= downs[0] <= SHRINK_AFTER + 15
    assert downs[1] - downs[0] >= SHRINK_AFTER


def test_a_worker_that_was_missed_stays_longer() -> None:
    simulation = Simulation(1, 2)
    simulation.run(lambda second: 1.5, 60)
    simulation.run(lambda second: 0.1, 90)
    assert simulation.wanted == 1
    simulation.run(lambda second: 1.5, 60)
    assert simulation.policy.patience == 2 * SHRINK_AFTER


def test_a_worker_that_is_missing_settles_it_anew() -> None:
    """A death, a reload or TTIN is no reason to decide: the figures are not those of as many as wanted."""
    policy = DemandPolicy(1, 8)
    busy = Load(serving=1, busy=1.0, wait=0.0, refused=0, cpu=1.0, cores=CORES, spare=CORES)
    assert [policy.look(float(now), 2, busy) for now in range(30)] == [None] * 30
    whole = busy._replace(serving=2, busy=2.0)
    reasons = [policy.look(float(now), 2, whole) for now in range(30, 37)]
    assert reasons.index(Reason.BUSY) >= PAUSE


# ------------------------------------------------------------ the meter


def stat(idle: int) -> str:
    return f"cpu 1 1 1 {idle} 0 0 0\n" + "".join(f"cpu{core} 1 1 1 {idle} 0 0 0 0\n" for core in range(256))


@contextmanager
def metered(tmp_path: Path, **given: str) -> Iterator[tuple[memoryview[int], Callable[[float], Load | None]]]:
    board = CounterBoard()
    board.head[counters.HIGHEST] = 1
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "stat").write_text(stat(0))
    meter, config = Meter(board, tmp_path), options.make(given)
    yield board.row(1), lambda now: meter.look(now, config, [(0, 1, True)], [])


def test_a_loop_is_busy_for_the_time_that_it_counts(tmp_path: Path) -> None:
    with metered(tmp_path) as (row, look):
        assert look(1.0) is None
        row[counters.BUSY_TIME] += 250_000_000
        load = look(2.0)
        assert load is not None
        assert (load.serving, load.busy, load.wait) == (1, 0.25, 0.0)
        assert load.spare == 0.0


def test_a_turn_that_lasts_counts_for_each_second_of_it(tmp_path: Path) -> None:
    with metered(tmp_path) as (row, look):
        look(1.0)
        row[counters.BUSY_TIME] += 2_500_000_000
        loads = [look(float(now)) for now in range(2, 6)]
        assert [load.busy for load in loads if load is not None] == [1.0, 1.0, 0.5, 0.0]


def test_calls_wait_as_long_as_others_need_to_begin(tmp_path: Path) -> None:
    with metered(tmp_path) as (row, look):
        look(1.0)
        row[counters.QUEUED] += 30
        row[counters.DEQUEUED] += 20
        load = look(2.0)
        assert load is not None
        assert load.wait == pytest.approx(0.5)
        load = look(3.0)
        assert load is not None
        assert load.wait == math.inf


def test_what_a_killed_worker_left_in_its_row_does_not_wait(tmp_path: Path) -> None:
    with metered(tmp_path) as (row, look):
        row[counters.QUEUED] += 30
        look(1.0)
        load = look(2.0)
        assert load is not None
        assert load.wait == 0.0


def test_threads_are_busy_with_the_requests_that_they_have(tmp_path: Path) -> None:
    with metered(tmp_path, threads="4") as (row, look):
        row[counters.WHERE] = counters.WHERES.index("pool")
        look(1.0)
        row[counters.REQUESTS] += 3
        row[counters.SHED] += 7
        load = look(2.0)
        assert load is not None
        assert (load.busy, load.refused) == (0.75, 7)


def test_cores_that_are_idle_are_spare(tmp_path: Path) -> None:
    with metered(tmp_path) as (_, look):
        look(1.0)
        (tmp_path / "proc" / "stat").write_text(stat(50))  # half a second
        load = look(2.0)
        assert load is not None
        assert load.spare == pytest.approx(load.cores / 2)
        (tmp_path / "proc" / "stat").unlink()
        load = look(3.0)
        assert load is not None
        assert load.spare == math.inf


# ------------------------------------------------------------ a server

NAPS = """
import os, time
import allcomers

class App(allcomers.Web):
    def get(self, request):
        time.sleep(0.02)
        return f"one {os.getpid()}"
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    app = App(tmp_path)
    app.replace(NAPS)
    return app


def quick(folder: Path) -> dict[str, str]:
    """Return the environment of a server whose workers go after two seconds: Python reads sitecustomize first."""
    (folder / "sitecustomize.py").write_text(
        "from allcomers.server.supervisor.demand import policy\npolicy.SHRINK_AFTER = 2.0\n"
    )
    return {"PYTHONPATH": str(folder)}


def test_it_grows_with_the_load_and_goes_back_without_loss(app: App) -> None:
    options = ("--workers", "1-3", "--calls", "inline", "-m", "epoll", "--overload", "off", "--admin", "127.0.0.1:0")
    with serving("run", app.target, *options, env=quick(app.folder)) as server:
        admin = Admin(server)
        assert len(server.workers()) - 1 == 1  # beside the admin's process
        with crowd(server, 12) as clients:
            stats = admin.stats_when(lambda stats: stats["wanted"] == 3, "three workers to be wanted")
            assert (stats["least"], stats["most"]) == (1, 3)
            assert (stats["scaled"]["reason"], stats["scaled"]["more"]) == ("busy", True)
            wait_for(lambda: len(clients.bodies) == 3, "clients that stay to reach each worker")
            clients.more(200)
        admin.stats_when(lambda stats: stats["wanted"] == 1, "one worker to be wanted")
        wait_for(lambda: len(server.workers()) == 2, "the others to have gone")
        metrics = admin.ask("/metrics")[1].decode()
        assert "allcomers_workers_min 1.0" in metrics
        assert "allcomers_workers_max 3.0" in metrics
        lines = [line for line in server.stderr.splitlines() if "workers wanted" in line]
        assert "workers wanted: 2 of 1-3; 1 were busy for" in lines[0]
        assert "workers wanted: 1 of 1-3; the others carry the load" in lines[-1]
        assert len(lines) <= 8


def test_calls_that_wait_for_a_thread_bring_a_worker(app: App) -> None:
    options = ("--workers", "1-2", "--calls", "pool", "--threads", "1", "--overload", "off")
    with serving("run", app.target, *options) as server, crowd(server, 12) as clients:
        wait_for(lambda: "workers wanted: 2 of 1-2; calls wait" in server.stderr, "a second worker to be wanted")
        wait_for(lambda: len(clients.bodies) == 2, "both workers to answer")


def test_peers_that_wait_for_a_worker_bring_one(app: App) -> None:
    """Under the iterative model one peer has the worker, and no figure of it shows that others wait."""
    with serving("run", app.target, "--workers", "1-2", "-m", "iterative") as server, ExitStack() as stack:
        held = stack.enter_context(server.connect())
        held.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n")
        others = [stack.enter_context(server.connect()) for _ in range(3)]
        for sock in others:
            sock.sendall(request())
        wait_for(lambda: "workers wanted: 2 of 1-2; calls " in server.stderr, "a second worker to be wanted")
        assert [receive(sock).status for sock in others] == [200] * 3


def test_a_worker_that_dies_is_replaced(app: App) -> None:
    with serving("run", app.target, "--workers", "2-3") as server:
        old = server.workers()
        os.kill(old[0], signal.SIGKILL)
        wait_for(lambda: len(server.workers()) == 2 and old[0] not in server.workers(), "another in its place")
        assert "workers wanted" not in server.stderr


def test_an_upgrade_begins_with_as_many_as_there_are(app: App) -> None:
    with upgrading("run", app.target, "--workers", "1-3") as server, crowd(server, 4) as clients:
        server.send(signal.SIGTTIN)
        wait_for(lambda: len(server.workers()) == 2, "a second worker")
        new = upgrade(server, server.pid)
        assert len(children(new)) == 2
        clients.more(50)


def test_a_reload_brings_a_range_and_takes_it_away(app: App) -> None:
    file = app.folder / "options.toml"
    file.write_text("workers = 1")
    with serving("run", app.target, "--config", str(file), "--calls", "inline") as server, crowd(server, 8) as clients:
        file.write_text('workers = "1-2"')
        server.send(signal.SIGHUP)
        wait_for(lambda: "workers wanted: 2 of 1-2" in server.stderr, "a second worker by demand")
        file.write_text("workers = 1")
        server.send(signal.SIGHUP)
        wait_for(lambda: len(server.workers()) == 1 and len(clients.bodies) > 2, "one worker, whatever the load")


def test_a_fixed_number_costs_nothing() -> None:
    count = WorkerCount(4)
    scaler = Scaler(count, CounterBoard(), lambda: None, options.make({"workers": "4"}))
    assert scaler.due == math.inf
    scaler.apply(options.make({"workers": "1-4"}))
    assert scaler.due == 0.0
    scaler.apply(options.make({"workers": "4"}))
    assert scaler.due == math.inf


def test_signals_and_reloads_go_on_with_a_range(app: App) -> None:
    with serving("run", app.target, "--workers", "2-3") as server:
        assert len(server.workers()) == 2
        server.send(signal.SIGTTOU)
        wait_for(lambda: "workers wanted: 2 of 2-3" in server.stderr, "the order to be read")
        server.send(signal.SIGTTIN)
        wait_for(lambda: len(server.workers()) == 3, "a third worker")
        old = set(server.workers())
        server.send(signal.SIGHUP)
        wait_for(lambda: len(server.workers()) == 3 and not old & set(server.workers()), "three other workers")

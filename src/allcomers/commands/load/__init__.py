"""The load generator: many clients against one server, and what came of it.

histogram  record       times and counts; those of one process
plan                    what is asked, and of which host
schedule  requests      when requests are due, and what they say
answers  wire           where an answer ends; that, compiled
client  asker  hostile  one connection; one that asks, one that means ill
crew  line  waiting     one process: all its clients on one epoll; who of them may connect; to be there on time
processes               all processes: forked, heard, reaped
result  trust  slo      what came of it; why not to believe it; whether it is good enough
cores                   who runs where
options  command        the command line
shown                   the table, the page and the other files
"""

from __future__ import annotations

from collections.abc import Callable

from allcomers.commands.load.data.cores import CoreSampler, server_pids
from allcomers.commands.load.data.histogram import Histogram
from allcomers.commands.load.data.plan import Plan, is_loopback, resolve
from allcomers.commands.load.data.record import Record
from allcomers.commands.load.data.result import Result, summarize
from allcomers.commands.load.data.trust import with_warnings
from allcomers.commands.load.run.client_group import SECOND, context, now_ns
from allcomers.commands.load.run.processes import Child, Processes, Progress, connections_possible
from allcomers.errors import OperatorError

__all__ = ["Histogram", "Plan", "Progress", "Result", "connections_possible", "run"]


def run(plan: Plan, report: Callable[[Progress], None] = lambda progress: None) -> Result:
    """Carry it out: in processes of its own, which are gone when this returns.

    `tell` is called some times a second with how far it is. A KeyboardInterrupt ends it before its time, and gives what
    there is so far; a second one is raised. Raises ConfigError where the host is none or not ours, OperatorError where
    no process of the load has lived to tell. The caller has one thread only: this forks.
    """
    destination = resolve(plan)
    if plan.is_tls:
        context(plan)  # what is wrong with it is told once
    servers = server_pids(destination) if is_loopback(destination) else []
    processes = Processes(plan, destination, now_ns() + int(_lead(plan) * SECOND))
    sampler = CoreSampler(servers, processes.pids)

    def on_progress(progress: Progress) -> None:
        sampler.sample()
        report(progress)

    children = processes.wait(on_progress)
    total = Record()
    for child in children:
        if child.record is not None:
            total.add(child.record)
    missing = tuple(_missing(child) for child in children if child.record is None)
    if len(missing) == len(children):
        raise OperatorError(f"the load came to nothing: {missing[0]}")
    return with_warnings(summarize(plan, total, processes.interrupted), sampler.shared, missing)


def _lead(plan: Plan) -> float:
    """Seconds from now to the start: then the processes are there, and their connections, unless those have a pace."""
    paced = plan.ramp or plan.connections_per_second or not plan.keep_alive
    return 0.1 + 0.03 * plan.processes + (0.0 if paced else 0.0002 * plan.clients)


def _missing(child: Child) -> str:
    how = f"was killed by signal {-child.status}" if child.status < 0 else f"ended with status {child.status}"
    return f"process {child.number + 1} of the load {how}: what it saw is lost"

"""The load generator: many clients against one server, and the result.

data/plan, schedule                  the load, its host, and when requests are due
data/histogram, record, cores        times and counts of a process; the cores that server and load run on
data/result, trust, slo              the result, reasons to distrust it, service level objectives
data/comparison, verdict             what changed since an earlier result; the verdict of both
run/requests, response_end           bytes of requests; where a response ends, in Python and compiled
run/client                           one connection; request_client sends requests, http2_client many at once,
                                     hostile_client attacks
run/client_group                     one process: all its clients on one epoll; connect_queue, precise_wait
run/processes                        all processes: forked, polled, reaped
report                               table, page, Markdown and other files
data/options, command                the command line
"""

from __future__ import annotations

from collections.abc import Callable

from allcomers.commands.load.data.cores import CoreSampler, server_pids
from allcomers.commands.load.data.histogram import Histogram
from allcomers.commands.load.data.plan import Plan, check_listener, is_loopback, resolve
from allcomers.commands.load.data.record import Record
from allcomers.commands.load.data.result import Result, summarize
from allcomers.commands.load.data.trust import with_warnings
from allcomers.commands.load.run.client_group import SECOND, context, now_ns
from allcomers.commands.load.run.processes import Child, Processes, Progress, connections_possible
from allcomers.errors import OperatorError

__all__ = ["Histogram", "Plan", "Progress", "Result", "connections_possible", "run"]


def run(plan: Plan, report: Callable[[Progress], None] = lambda progress: None) -> Result:
    """Run a load in processes of its own, all of which have ended when this returns.

    `report` is called several times a second with the progress. A KeyboardInterrupt ends the run early with the result
    so far; a second one is raised. Raises ConfigError if the host cannot be resolved or may not be loaded,
    OperatorError if no server listens there, or no process delivered a record. The caller must have one thread only:
    this forks.
    """
    destination = resolve(plan)
    check_listener(destination)
    if plan.is_tls:
        context(plan)  # errors are raised here, once, not in each process
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
        raise OperatorError(f"no process of the load delivered a result: {missing[0]}")
    return with_warnings(summarize(plan, total, processes.interrupted), sampler.shared, missing)


def _lead(plan: Plan) -> float:
    """Return the seconds until the load starts: time to fork, and to connect all clients unless a pace is set."""
    paced = plan.ramp or plan.connections_per_second or not plan.keep_alive
    return 0.1 + 0.03 * plan.processes + (0.0 if paced else 0.0002 * plan.clients)


def _missing(child: Child) -> str:
    how = f"was killed by signal {-child.status}" if child.status < 0 else f"ended with status {child.status}"
    return f"process {child.number + 1} of the load {how}: its figures are lost"

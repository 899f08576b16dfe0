"""Rules about quantities: cores, memory, descriptors, threads, places in the kernel's queues, disk."""

from __future__ import annotations

from math import ceil, floor, inf
from typing import Final

from allcomers.commands.doctor import plan
from allcomers.commands.doctor.facts import Facts, Finding, Weight, many, size
from allcomers.config.options import Config
from allcomers.protocol.body import SPOOL_AT
from allcomers.system.memory.ledger import MEMORY_PART
from allcomers.system.sockets import FD_SETSIZE

_FULL: Final = 0.8
"""The part of a memory limit that workers may fill: the rest is for requests, and for the growth of an app."""

_SERVICES: Final = "LimitNOFILE=65536 in a systemd unit, --ulimit nofile=65536 for a container"


def workers_over_quota(facts: Facts, config: Config) -> Finding | None:
    """Find more processes than the cgroup has time for: they use up each period's time early, and then stand still."""
    if config.workers <= ceil(facts.usable) or facts.quota >= facts.cores:
        return None
    part = facts.quota / min(config.workers, facts.cores)
    hint = " (`auto` counts cores, not the quota)" if config.workers == facts.cores else ""
    return Finding(
        Weight.HURTS,
        f"{many(config.workers, 'worker')}, and a cgroup quota of {facts.quota:.3g} of {many(facts.cores, 'core')}",
        f"when all are busy, they use it up in the first {part:.0%} of each period (100 ms) and stand still for the"
        " rest: responses take that much longer",
        f"--workers {ceil(facts.quota)}{hint}, or a higher quota",
    )


def workers_over_cores(facts: Facts, config: Config) -> Finding | None:
    """Find more processes than cores."""
    if config.workers <= facts.cores or facts.quota < facts.cores:
        return None
    harsh = config.workers > 2 * facts.cores + 1  # gunicorn's rule of thumb is this many, for calls that wait
    return Finding(
        Weight.HURTS if harsh else Weight.KNOW,
        f"{many(config.workers, 'worker')} on {many(facts.cores, 'core')}",
        "only as many run at once as there are cores; each of the others costs a copy of the app in memory"
        + (", and evicts the caches of those that run" if harsh else ""),
        "--workers auto; for calls that wait, use threads: --calls pool --threads N",
    )


def idle_cores(facts: Facts, config: Config) -> Finding | None:
    """Find cores that one process of an interpreter with a GIL leaves idle."""
    usable = floor(facts.usable)
    if config.workers > 1 or usable < 2 or not facts.gil or plan.model(facts, config) == "process":
        return None
    return Finding(
        Weight.KNOW,
        f"1 worker, and {many(usable, 'core')}",
        f"Python code runs on one core at a time in each process: {many(usable - 1, 'core')} will be idle",
        f"--workers {usable}, if the app keeps nothing in memory that all requests must see",
    )


def _memory(facts: Facts) -> tuple[float, str]:
    return min((facts.memory_limit, "the cgroup's memory limit"), (facts.memory, "the machine's memory"))


def memory_of_workers(facts: Facts, config: Config) -> Finding | None:
    """Compare the memory of the app in all workers with the limit."""
    limit, owner = _memory(facts)
    each = facts.app.memory if facts.app else 0
    need = each * config.workers
    if not each or need <= limit * _FULL:
        return None
    fit = floor(limit * _FULL / each)
    return Finding(
        Weight.FAILS if need > limit else Weight.HURTS,
        f"{many(config.workers, 'worker')} of {size(each)} each take {size(need)} before the first request, and"
        f" {owner} is {size(limit)}",
        "when it is full, the kernel kills a worker and all its requests",
        f"--workers {fit}" if fit else f"a limit of {size(need / _FULL)} or more",
    )


def max_memory_over_limit(facts: Facts, config: Config) -> Finding | None:
    """Find a --max-memory that the workers cannot reach before the kernel kills one."""
    limit, owner = _memory(facts)
    if config.max_memory * config.workers <= limit:
        return None
    return Finding(
        Weight.HURTS,
        f"{many(config.workers, 'worker')} may grow to {size(config.max_memory)} each (--max-memory), and {owner} is"
        f" {size(limit)}",
        "the kernel kills a worker before --max-memory replaces it without loss",
        f"--max-memory {floor(limit * _FULL / config.workers / (1 << 20))}M",
    )


def memory_of_requests(facts: Facts, config: Config) -> Finding | None:
    """Compare what is held for all clients with the memory that the workers leave."""
    limit, owner = _memory(facts)
    held = config.max_memory_held or limit / MEMORY_PART
    room = limit - (facts.app.memory if facts.app else 0) * config.workers
    if limit == inf or held <= room:
        return None
    return Finding(
        Weight.HURTS,
        f"up to {size(held)} are held for clients (--max-memory-held), and of {size(limit)}, {owner}, the workers leave"
        f" {size(max(0, room))}",
        "slow clients fill that, and the kernel kills a worker",
        f"--max-memory-held {max(1, floor(room / 2 / (1 << 20)))}M",
    )


def _clients(clients: float) -> str:
    return f"up to {many(clients, 'client')}" if clients < inf else "any number of clients"


def descriptors(facts: Facts, config: Config) -> Finding | None:
    """Compare the limit of descriptors with the peers: each has one. The soft limit of most systems is 1024."""
    most = plan.descriptors(facts, config)
    usable = max(0, most - plan.SPARE)
    if plan.model(facts, config) == "process":  # the acceptor keeps none of them
        return None
    wanted = plan.places(facts, config)
    if usable >= min(wanted, 4096):
        return None
    if usable < 1:
        weight, harm = Weight.FAILS, "the server itself needs some tens"
    else:
        weight = Weight.KNOW if wanted == inf and most >= 1024 else Weight.HURTS
        harm = f"a worker accepts about {usable:,.0f} clients; others wait in the backlog until an idle one is closed"
    limit = "--descriptors" if config.descriptors else "ulimit -n"
    return Finding(weight, f"{_places(config, wanted)}{most:,.0f} descriptors ({limit})", harm, _more(facts, most))


def descriptors_over_hard(facts: Facts, config: Config) -> Finding | None:
    """Find a --descriptors above the hard limit, which only root may raise (setrlimit(2))."""
    if config.descriptors <= facts.nofile_hard or facts.uid == 0:
        return None
    return Finding(
        Weight.FAILS,
        f"--descriptors {config.descriptors:,}, and the hard limit is {facts.nofile_hard:,.0f} (ulimit -Hn)",
        "only root may raise it: the workers do not start",
        f"--descriptors max, or as root; {_SERVICES}",
    )


def _places(config: Config, wanted: float) -> str:
    if wanted == inf:
        return ""
    return f"{'--max-connections ' if config.max_connections else 'places for '}{wanted:,.0f}, and "


def _more(facts: Facts, most: float) -> str:
    return f"--descriptors {min(65536, facts.nofile_hard):.0f}; {_SERVICES}" if facts.nofile_hard > most else _SERVICES


def select_limit(facts: Facts, config: Config) -> Finding | None:
    """Find more peers than select(2) can watch: their descriptors are below FD_SETSIZE."""
    most = FD_SETSIZE - plan.SPARE
    is_bound = plan.descriptors(facts, config) <= FD_SETSIZE or plan.places(facts, config) <= most
    if is_bound or plan.model(facts, config) != "select":
        return None
    return Finding(
        Weight.HURTS,
        f"-m select, and {_clients(plan.places(facts, config))} a worker",
        f"select(2) watches descriptors below {FD_SETSIZE:,}: with {most} clients connected, any other waits until an"
        " idle one is closed",
        f"--max-connections {most}, or -m poll",
    )


def tasks(facts: Facts, config: Config) -> Finding | None:
    """Compare threads and processes with pids.max of the cgroup, or with ulimit -u."""
    each = plan.tasks(facts, config)
    need = 1 + each * config.workers
    if need <= facts.tasks:
        return None
    by_peer = plan.model(facts, config) in ("thread", "process") and facts.tasks > 2 * config.workers
    return Finding(
        Weight.HURTS if by_peer else Weight.FAILS,
        f"{many(config.workers, 'worker')} may have {many(each, 'thread')} or processes each, {need:,.0f} in all, and"
        f" {facts.tasks_by} leaves {facts.tasks:,.0f}",
        "more clients are refused" if by_peer else "a worker that cannot start its threads ends",
        f"{_fewer_tasks(facts, config)}TasksMax=infinity in a systemd unit, --pids-limit -1 for a container",
    )


def _fewer_tasks(facts: Facts, config: Config) -> str:
    each = floor((facts.tasks - 1) / config.workers) - 1
    if each < 1:
        return ""
    option = "--max-connections" if plan.model(facts, config) in ("thread", "process") else "--threads"
    pool = config.threads if plan.calls(facts, config) == "pool" and option != "--threads" else 0
    return f"{option} {each - pool}, or " if each > pool else ""


def stacks(facts: Facts, config: Config) -> Finding | None:
    """Compare the stacks of threads with a limit of address space: vm.overcommit_memory=2, ulimit -v."""
    threads = 1 if plan.model(facts, config) == "process" else plan.tasks(facts, config)
    space, commit = threads * facts.stack, threads * config.workers * facts.stack
    if space <= facts.address_space and commit <= facts.commit_room:
        return None
    over = commit > facts.commit_room
    seen = f"stacks of {many(threads, 'thread')} a worker, {size(facts.stack)} each, and "
    return Finding(
        Weight.HURTS,
        seen
        + (
            f"vm.overcommit_memory=2, which leaves {size(facts.commit_room)} for {many(config.workers, 'worker')}"
            if over
            else f"{size(facts.address_space)} of address space (ulimit -v)"
        ),
        "no more threads can be started: clients are then refused",
        "sysctl -w vm.overcommit_memory=0" if over else "ulimit -v unlimited",
    )


def backlog(facts: Facts, config: Config) -> Finding | None:
    """Find a backlog that listen(2) reduces to somaxconn without a word."""
    if config.backlog <= facts.somaxconn:
        return None
    return Finding(
        Weight.HURTS,
        f"--backlog {config.backlog:,}, and net.core.somaxconn is {facts.somaxconn:,.0f}",
        f"the kernel queues {facts.somaxconn:,.0f}; in a burst, the others try again a second later",
        f"sysctl -w net.core.somaxconn={config.backlog}, --sysctl net.core.somaxconn={config.backlog} for a container",
    )


def syn_backlog(facts: Facts, config: Config) -> Finding | None:
    """Find a queue of unfinished handshakes that is shorter than the backlog, without SYN cookies."""
    if facts.syncookies or config.backlog <= facts.syn_backlog:
        return None
    return Finding(
        Weight.HURTS,
        f"--backlog {config.backlog:,}, net.ipv4.tcp_max_syn_backlog is {facts.syn_backlog:,.0f}, tcp_syncookies is 0",
        "in a burst, or a SYN flood, clients cannot connect though the backlog has room",
        "sysctl -w net.ipv4.tcp_syncookies=1",
    )


def resets_on_overflow(facts: Facts, config: Config) -> Finding | None:
    """Find a backlog that resets connections when it is full, instead of dropping them for another try."""
    if not facts.abort_on_overflow:
        return None
    return Finding(
        Weight.HURTS,
        "net.ipv4.tcp_abort_on_overflow is 1",
        "when the backlog is full, connections are reset; otherwise clients try again a second later",
        "sysctl -w net.ipv4.tcp_abort_on_overflow=0",
    )


def temp_folder(facts: Facts, config: Config) -> Finding | None:
    """Find a temporary folder, for bodies above 512 KiB, that is read-only or too small."""
    if config.max_body <= SPOOL_AT:
        return None
    if facts.temp_problem:
        return Finding(
            Weight.FAILS,
            f"the temporary folder {facts.temp}: {facts.temp_problem}",
            f"bodies above {size(SPOOL_AT)} are kept there: such requests get 503",
            "TMPDIR=/var/tmp, or any folder that the workers can write to",
        )
    if facts.temp_free >= 16 * config.max_body:
        return None
    fits = floor(facts.temp_free / config.max_body)
    room = {0: "not even one such body fits", 1: "one such body fits"}.get(fits, f"{fits} such bodies fit")
    return Finding(
        Weight.KNOW if fits else Weight.HURTS,
        f"{size(facts.temp_free)} free in {facts.temp} ({facts.temp_kind}), and --max-body is {size(config.max_body)}",
        f"{room}; any other request gets 503",
        f"TMPDIR=FOLDER with more room, or --max-body {max(1, floor(facts.temp_free / 16 / (1 << 20)))}M",
    )


def temp_in_memory(facts: Facts, config: Config) -> Finding | None:
    """Find a temporary folder in memory, which the cgroup counts (tmpfs(5))."""
    if facts.temp_kind not in ("tmpfs", "ramfs") or config.max_body <= SPOOL_AT:
        return None
    limit, owner = _memory(facts)
    if 8 * config.max_body <= limit:
        return None
    return Finding(
        Weight.HURTS,
        f"the temporary folder {facts.temp} is a {facts.temp_kind}, --max-body is {size(config.max_body)}, and {owner}"
        f" is {size(limit)}",
        f"bodies above {size(SPOOL_AT)} are kept in memory then: {many(ceil(limit / config.max_body), 'upload')} fill"
        " it, and the kernel kills a worker",
        "TMPDIR=/var/tmp, or any folder on a disk",
    )

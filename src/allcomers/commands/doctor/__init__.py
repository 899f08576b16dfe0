"""The doctor: examines this system, the options and the app, and finds what will hurt, each with its remedy.

facts          the types: facts, a finding, a diagnosis
system_facts   facts about this system                  ┐
option_facts   facts about the files and addresses      ├ read once, nothing is changed
               that options name                        │
app_facts      facts about the app                      ┘
plan           the effect of the options together
capacity   traffic   exposure   runtime                 the rules: facts and options in, a finding or None out
report         the output
command        the command line
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from allcomers.commands.doctor import capacity, exposure, runtime, traffic
from allcomers.commands.doctor.facts import Address, Certificate, Diagnosis, Facts, Finding, Weight
from allcomers.config.options import Config

Rule: TypeAlias = Callable[[Facts, Config], Finding | None]

RULES: Final[tuple[Rule, ...]] = (
    capacity.workers_over_quota,
    capacity.workers_over_cores,
    capacity.idle_cores,
    capacity.max_memory_over_limit,
    capacity.memory_of_requests,
    capacity.descriptors,
    capacity.descriptors_over_hard,
    capacity.select_limit,
    capacity.tasks,
    capacity.stacks,
    capacity.backlog,
    capacity.syn_backlog,
    capacity.resets_on_overflow,
    capacity.temp_folder,
    capacity.temp_in_memory,
    traffic.keep_alive,
    traffic.fairness,
    traffic.one_at_a_time,
    traffic.killed_in_mid_drain,
    traffic.no_drain_delay,
    traffic.hang_before_call,
    traffic.http_version,
    exposure.root,
    exposure.user,
    exposure.plain_in_public,
    exposure.believes_anybody,
    exposure.reload_in_public,
    exposure.reload_without_watcher,
    exposure.debug_log,
    exposure.access_log,
    exposure.pid_file,
    runtime.old_python,
    runtime.debug_python,
    runtime.slow_build,
    runtime.free_threads_with_gil,
    runtime.no_uvloop,
)

OF_THE_APP: Final[tuple[Rule, ...]] = (
    capacity.memory_of_workers,
    traffic.inline_calls,
    traffic.database,
    traffic.websocket_pings,
    runtime.no_websockets,
    runtime.blocked_websockets,
    runtime.patched_threads,
    runtime.app_problem,
    runtime.slow_import,
    runtime.threads_before_fork,
    runtime.threads_in_each_worker,
    runtime.listening_app,
)

OF_AN_ADDRESS: Final[tuple[Callable[[Address, Facts, Config], Finding | None], ...]] = (
    exposure.address,
    traffic.port_of_clients,
    traffic.few_client_ports,
)

OF_A_CERTIFICATE: Final[tuple[Callable[[Certificate, Facts, Config], Finding | None], ...]] = (
    exposure.certificate,
    exposure.certificate_key,
)


def examine(config: Config, target: str = "", paths: Sequence[str] = ()) -> Diagnosis:
    """Read the facts and judge them. Raises ConfigError for a bad address, and for a model that cannot run here.

    paths  folders in which the modules of `target` are searched first
    """
    from allcomers import models
    from allcomers.commands.doctor import option_facts, system_facts

    if config.model:
        models.get(config.model).check()
    facts = option_facts.read(system_facts.read(), config)
    if target:
        from allcomers.commands.doctor import app_facts

        facts = replace(facts, app=app_facts.read(target, config, paths))
    return judge(facts, config)


def judge(facts: Facts, config: Config) -> Diagnosis:
    """Apply every rule that has a subject among the facts."""
    results = list(_results(facts, config))
    found = [finding for finding in results if finding is not None]
    weights = list(Weight)
    return Diagnosis(facts, tuple(sorted(found, key=lambda finding: weights.index(finding.weight))), len(results))


def _results(facts: Facts, config: Config) -> Iterator[Finding | None]:
    for rule in RULES + (OF_THE_APP if facts.app else ()):
        yield _named(rule(facts, config), rule.__name__)
    for address in facts.addresses:
        for of_address in OF_AN_ADDRESS:
            yield _named(of_address(address, facts, config), of_address.__name__)
    for certificate in facts.certificates:
        for of_certificate in OF_A_CERTIFICATE:
            yield _named(of_certificate(certificate, facts, config), of_certificate.__name__)
    if facts.certificates:
        yield _named(exposure.certificate_names(facts, config), exposure.certificate_names.__name__)


def _named(finding: Finding | None, name: str) -> Finding | None:
    return finding and replace(finding, name=name)

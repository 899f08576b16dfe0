"""One run of the lab, from its options to its files: the probe, the experiment, the report."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from allcomers.commands.lab.analysis import results
from allcomers.commands.lab.data.goal import describe, goal, patience
from allcomers.commands.lab.data.options import Options
from allcomers.commands.lab.data.plan import Probe, Untried
from allcomers.commands.lab.report import report
from allcomers.commands.lab.report.progress import Progress
from allcomers.commands.lab.run.child_process import most_descriptors
from allcomers.commands.lab.run.experiment import Conditions, Experiment, trials
from allcomers.commands.lab.run.journal import Journal
from allcomers.commands.lab.run.load_process import LoadRunner
from allcomers.commands.lab.run.probing import probe
from allcomers.commands.lab.run.server import ServerSettings
from allcomers.commands.lab.run.trial import Setup
from allcomers.commands.output import report as announce

_TIMEOUT: Final = (3.0, 10.0)
"""Seconds for a response at least, and as a multiple of a lone request's time: a slower one meets no goal."""


def run(options: Options, command: str, folder: Path) -> int:
    """Run the lab; return the exit status. `folder` is for temporary files."""
    with Journal(options.out, options.fingerprint(), resume=options.resume) as journal:
        if journal.kept:
            announce(f"an experiment was not finished there, and is not resumed: it is kept as {journal.kept}")
        probed, terms, untried = _experiment(options, journal, folder)
        found = report.analyse(
            trials(journal),
            probed,
            terms,
            untried=untried,
            command=command,
            words=options.words,
            place=results.surroundings(options.server_cores, options.load_cores),
            think=options.think,
            is_race=options.race,
        )
        written = report.write(found, options.out)
        journal.finish()
    report.show(found, written)
    return 0 if options.race or found.verdict.chosen else 1


def _experiment(options: Options, journal: Journal, folder: Path) -> tuple[Probe, str, Untried]:
    """Run the experiment until the journal is complete; return the probe, the goal in words, and who was left out."""
    conditions = Conditions(
        budget=options.budget,
        cores=max(1, len(options.server_cores)),
        descriptors=most_descriptors(),
        most=options.most,
        models=options.models,
        think=options.think,
        is_race=options.race,
    )
    if journal.find("probe") is None:
        conditions.check(start=0.0)
    with Progress(options.budget) as progress:
        setup = _setup(options, folder, progress.activity)
        probed = _probed(journal, setup)
        progress.probed(probed)
        terms = goal(options.slo, probed)
        conditions = replace(conditions, patience=patience(terms))
        timeout = max(_TIMEOUT[0], _TIMEOUT[1] * probed.response)
        setup = replace(setup, runner=replace(setup.runner, timeout=timeout, goal=terms))
        experiment = Experiment(setup, journal, conditions, progress)
        experiment.run(probed)
    return probed, describe(terms), experiment.untried(probed)


def _setup(options: Options, folder: Path, report: Callable[[str], object]) -> Setup:
    server, load = frozenset(options.server_cores), frozenset(options.load_cores)
    if load:
        os.sched_setaffinity(0, load)  # the lab itself runs there, too
    server_settings = ServerSettings(words=options.words, cores=server, folder=folder)
    runner = LoadRunner(options=options.load, path=options.path, think=options.think, cores=load, folder=folder)
    return Setup(server_settings=server_settings, runner=runner, report=report)


def _probed(journal: Journal, setup: Setup) -> Probe:
    record = journal.find("probe")
    if record is None:
        record = {"kind": "probe", "probe": probe(setup).as_dict()}
        journal.add(record)
    return Probe(**record["probe"])

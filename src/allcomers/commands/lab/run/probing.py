"""The first look: the cost of one call of the app, measured with one client, then with many."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import isfinite
from typing import Final

from allcomers.commands.lab.analysis.figures import Step
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.commands.lab.data.plan import Probe
from allcomers.commands.lab.run import trial
from allcomers.commands.lab.run.child_process import ChildProcess
from allcomers.commands.lab.run.load_process import LoadFailedError
from allcomers.commands.lab.run.server import DRAIN, PATIENCE, Server, ServerFailedError, ServerSettings, running_server
from allcomers.commands.lab.run.trial import Load, Setup
from allcomers.errors import AppError, ConfigError, ListenError
from allcomers.models import best

_SECONDS: Final = (1.0, 6.0)
"""Seconds of the probe; the second if responses take so long that the first has few."""

_ENOUGH: Final = 20
"""Responses that give a mean."""

_MANY: Final = 64
"""Clients, and threads, that keep the server busy, so that few requests cost it a sleep and a wake-up."""

_PATIENT: Final = ("--overload", "off")
"""A server that refuses what would wait too long tells the cost of a refusal."""

_WRONG: Final = 0.01
"""Share of the responses that may be errors."""


def probe(setup: Setup) -> Probe:
    """Measure the app. Raises ConfigError, AppError, ListenError: it cannot be loaded, or does not answer as it
    should."""
    is_async = _is_async(setup.server_settings)
    words = (*setup.server_settings.words, *_PATIENT)
    setup = replace(
        setup,
        server_settings=replace(setup.server_settings, words=words),
        runner=replace(setup.runner, think=0.0),
    )
    alone, start = _measure(setup, Candidate(model=best(), calls="" if is_async else "inline"), 1)
    pooled = Candidate(model=best()) if is_async else Candidate(model=best(), calls="pool", threads=_MANY)
    crowded, _ = _measure(setup, pooled, _MANY)
    response = alone.seconds / alone.answered
    cpu = min(cost for cost in (alone.cpu, crowded.cpu, response) if isfinite(cost))
    return Probe(response=response, cpu=max(cpu, 1e-6), is_async=is_async, start=start, redirects=alone.redirects)


def _measure(setup: Setup, candidate: Candidate, clients: int) -> tuple[Step, float]:
    """Return a step with so many clients, longer if there are few responses; and the seconds that the server took to
    start."""
    try:
        with running_server(setup.server_settings, candidate) as server:
            for seconds in _SECONDS:
                step = trial.measure(setup, server, Load(clients=clients, seconds=seconds))
                server.check()
                if step.answered >= _ENOUGH:
                    break
            _check(step, server)
            return step, server.start
    except (ServerFailedError, LoadFailedError) as error:
        raise ListenError(f"the app could not be measured: {error}") from None


def _check(step: Step, server: Server) -> None:
    if step.answered and step.failing <= _WRONG:
        return
    kinds = ", ".join(f"{kind} ({count:,})" for kind, count in step.errors.items()) or "no response at all"
    ordinary = ("Listening at: ", " INFO allcomers ")
    lines = [line for line in server.child.output_tail().splitlines() if not any(word in line for word in ordinary)]
    hint = f"the server's last line: {lines[-1][:300]}" if lines else "--path sets the path to request"
    raise ListenError(f"requests failed: {kinds}; {hint}")


def _is_async(server_settings: ServerSettings) -> bool:
    """Return whether the app runs on an event loop: `--check-config` loads it as a worker would, and reports it."""
    command = [sys.executable, "-m", "allcomers", *server_settings.words, "--check-config"]
    child = ChildProcess(command, cores=(), output=server_settings.folder / "check.log")
    try:
        if not child.wait(PATIENCE):
            raise AppError(f"the app was not loaded after {PATIENCE:g} s")
    finally:
        child.end(DRAIN)
    lines = child.output.read_text(errors="replace").strip().splitlines() or ["no output"]
    if child.status:
        last = lines[-1].removeprefix("allcomers: ")
        if child.status == AppError.exit_code:
            raise AppError(last, "\n".join(lines[:-1]))
        raise ConfigError(last) if child.status == ConfigError.exit_code else ListenError(last)
    return any(line.endswith("asyncio, calls inline") for line in lines)

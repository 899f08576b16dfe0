"""The results of an experiment: as results.json, with all figures and conclusions, and as allcomers.toml, the
recommendation."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from allcomers.commands import machine
from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.analysis.standing import Ranked, Standing, Verdict
from allcomers.commands.lab.data.plan import Probe, Untried


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A complete experiment.

    command   the command line
    target    the app or folder that was served
    words     the arguments of `allcomers` that serve it: "run", the target, the user's own options
    goal      in words
    place     the environment
    others    cores that other processes used meanwhile
    untried   candidates that there was no time for
    think     seconds from a response to a client's next request
    is_race   nothing is recommended: the verdict's runners-up are the racers
    """

    command: str
    target: str
    words: tuple[str, ...]
    goal: str
    place: dict[str, Any]
    probe: Probe
    standings: tuple[Standing, ...]
    verdict: Verdict
    trials: tuple[Trial, ...]
    others: float
    untried: Untried
    think: float = 0.0
    is_race: bool = False

    @property
    def cores(self) -> int:
        """Number of the server's cores."""
        return len(self.place["server_cores"]) or 1

    def nothing(self, goal: str) -> str:
        """Return why nothing is recommended for a goal, in a sentence."""
        if any(one.missed for one in self.standings):
            return f"No candidate met the goal, {goal}."
        return "Nothing could be measured."

    @property
    def rounds(self) -> int:
        """Number of rounds of the ladder."""
        return len({trial.number for trial in self.trials if trial.stage == "ladder"})

    @property
    def seconds(self) -> float:
        """Seconds that all trials took."""
        return sum(trial.took for trial in self.trials)


def surroundings(server: Sequence[int], load: Sequence[int]) -> dict[str, Any]:
    """Return the environment, without which figures mean nothing."""
    return {
        **machine.facts(),
        "server_cores": list(server),
        "load_cores": list(load),
    }


def as_json(results: Results, what_if: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return results.json, with the verdicts for other goals; unknown figures are null."""
    whole = plain(asdict(results))
    for standing, kept in zip(results.standings, whole["standings"], strict=True):
        kept["name"] = standing.candidate.name
        kept["law"] = plain(standing.law.as_dict()) if standing.law else None
    for candidate, left in zip(results.untried.candidates, whole["untried"]["candidates"], strict=True):
        left["name"] = candidate.name
    whole["what_if"] = plain(list(what_if))
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """Return a value in JSON's types; an unknown figure is null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ------------------------------------------------------------ allcomers.toml


def toml(results: Results, chosen: Ranked, own: Sequence[str]) -> str:
    """Return the configuration as TOML. own: lines of the options that the user gave."""
    settings = chosen.standing.candidate.settings()
    lines = [
        *_comment(f"Made by `{results.command}`, {results.place['when']}:"),
        *_comment(f"{chosen.standing.candidate.name}. {chosen.why}"),
        *own,
        *(f"{name} = {json.dumps(value)}" for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    import textwrap

    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 100, break_long_words=False)]


def own_options(words: Sequence[str]) -> list[str]:
    """Return target and options in `words` as TOML: those of --print-config that the command line set."""
    command = [sys.executable, "-m", "allcomers", *words, "--print-config"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = []
    for line in done.stdout.splitlines():
        setting, _, origin = line.rpartition("  # ")
        if setting and not line.startswith("#") and (origin.startswith("--") or origin in ("TARGET", "DIR")):
            found.append(setting)
    return found

"""A finished experiment, read back from its results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.data.candidate import Candidate
from allcomers.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An experiment as `allcomers lab` left it.

    path      of its results.json
    target    the app or folder that was served
    goal      in words
    place     the environment
    chosen    the recommendation; None if there was none
    """

    path: Path
    target: str
    goal: str
    place: Mapping[str, Any]
    chosen: Candidate | None
    trials: tuple[Trial, ...]

    @property
    def cores(self) -> int:
        """Number of the server's cores."""
        return len(self.place["server_cores"]) or 1


def read(path: Path) -> Recorded:
    """Return the experiment in a folder or a results.json. Raises ConfigError."""
    file = path / "results.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        chosen = found["verdict"]["chosen"]
        return Recorded(
            path=path,
            target=found["target"],
            goal=found["goal"],
            place=found["place"],
            chosen=Candidate.from_dict(chosen["standing"]["candidate"]) if chosen else None,
            trials=tuple(Trial.from_dict(_known(trial)) for trial in found["trials"]),
        )
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{file} has no results of this version's `allcomers lab`") from None


def _known(value: Any) -> Any:
    """Return a value with nan, in which calculations go on, for each null."""
    if isinstance(value, dict):
        return {name: _known(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return nan if value is None else value

"""The options of `allcomers lab`: argv to checked Options."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from allcomers import models
from allcomers.commands.arguments import Parser, duration
from allcomers.commands.load.data import slo
from allcomers.errors import ConfigError

_USAGE: Final = """\
allcomers lab TARGET|DIR [OPTIONS] [-- OPTIONS OF THE SERVER]
       allcomers lab --compare A B [--out DIR]"""

_ABOUT: Final = """\
Measure every model on an app, and recommend one, with reasons. TARGET is that of `allcomers run`, or a folder; what
follows `--` are options for the server: allcomers lab app:app -- --factory"""

_EPILOG: Final = """\
DIR then has report.html (open it), results.json, and allcomers.toml, which `allcomers run --config` accepts.
docs/lab.md explains what is measured, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """Two results to compare: of folders, or files. `out`: the folder for what is found."""

    a: Path
    b: Path
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one run. `words`: the arguments of `allcomers` that serve the app."""

    words: tuple[str, ...]
    target: str
    budget: float
    slo: str
    path: str
    load: tuple[str, ...]
    models: tuple[str, ...] | None
    most: int
    server_cores: tuple[int, ...]
    load_cores: tuple[int, ...]
    think: float
    out: Path
    resume: bool
    race: bool

    def fingerprint(self) -> dict[str, Any]:
        """Return the options that must be the same when an experiment is resumed."""
        names = (
            "words",
            "budget",
            "slo",
            "path",
            "load",
            "models",
            "most",
            "server_cores",
            "load_cores",
            "think",
            "race",
        )
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def parser() -> argparse.ArgumentParser:
    arguments_parser = Parser(
        "allcomers lab", usage=_USAGE, description=_ABOUT, epilog=_EPILOG,
    )  # fmt: skip
    add = arguments_parser.add_argument_group("options").add_argument
    add("target", metavar="TARGET|DIR", nargs="?", help="MODULE:NAME, FILE.py:NAME or a folder")
    add("--budget", metavar="TIME", default="5m", type=duration, help="time limit: 90s, 5m, 1h (5m)")
    add(
        "--slo",
        metavar="'TERMS'",
        default="",
        help="goal for responses: 'p99<50ms,errors<0.1%%' (p99 below 0.1 s,\nor ten times a lone request's time)",
    )
    add("--path", metavar="PATH", default="/", help="path to request (/)")
    add("--load", metavar="'OPTIONS'", default="", help="further options of `allcomers load`: '--browser -m POST'")
    add(
        "--think",
        metavar="TIME",
        default=0.0,
        type=duration,
        help="time from a response to the client's next request (0)",
    )
    add("--models", metavar="LIST", default="", help="only these models: epoll,thread")
    add("--clients", metavar="N", dest="most", default=10_000, type=int, help="most concurrent clients (10,000)")
    add("--server-cores", metavar="LIST", default="", help="cores of the server: 0,1 or 0-3")
    add("--load-cores", metavar="LIST", default="", help="cores of the load; separate from the server's")
    add("--out", metavar="DIR", default="allcomers-lab", type=Path, help="folder for results (allcomers-lab)")
    add("--resume", action="store_true", help="continue the experiment in DIR")
    add("--race", action="store_true", help="show how each model stands many clients, instead of recommending one")
    add(
        "--compare", nargs=2, metavar=("A", "B"), type=Path,
        help="compare two results, of two commits or machines:\nfolders, or files like results.json",
    )  # fmt: skip
    add("-h", "--help", action="help", help="show this help")
    return arguments_parser


def read(arguments: Sequence[str]) -> Options | CompareOptions:
    """Parse the arguments. Raises ConfigError."""
    words = list(arguments)
    own = words[: words.index("--")] if "--" in words else words
    lab = parser()
    given = vars(lab.parse_args(own))
    further = words[len(own) + 1 :]
    if two := given.pop("compare"):
        if given["target"]:
            raise ConfigError(f"--compare has results of two labs, and measures nothing: without {given['target']}")
        return CompareOptions(a=two[0], b=two[1], out=given["out"])
    if not given["target"]:
        lab.error("the following arguments are required: TARGET|DIR")
    _check_further(further)
    server, load = _cores(given.pop("server_cores"), given.pop("load_cores"))
    if not given["budget"]:
        raise ConfigError("--budget is a time above 0: 90s, 5m, 1h")
    if given["most"] < 1:
        raise ConfigError("--clients is at least 1")
    if given["slo"]:
        slo.parse(given["slo"])
    if not re.fullmatch(r"/[\x21-\x7e]*", given["path"]):
        raise ConfigError(f"--path {given['path']!r} begins with / and has no blank")
    target = given["target"]
    verb = "serve" if target.endswith("/") or Path(target).is_dir() else "run"
    return Options(
        **{
            **given,
            "words": (verb, target, *further),
            "load": _split(given["load"]),
            "models": _models(given["models"]),
            "server_cores": server,
            "load_cores": load,
        }
    )


_CHOSEN: Final = ("-m", "--model", "-w", "--workers", "--calls", "-t", "--threads", "-b", "--bind", "--config")


def _check_further(words: Sequence[str]) -> None:
    for word in words:
        if word.partition("=")[0] in _CHOSEN:
            raise ConfigError(f"{word} after --: the lab chooses it")


def _split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"--load {text!r}: {error}") from None


def _models(text: str) -> tuple[str, ...] | None:
    names = tuple(name for name in map(str.strip, text.split(",")) if name)
    for name in names:
        if obstacle := models.get(name).obstacle:
            raise ConfigError(f"--models {name}: it {obstacle}")
    return names or None


def _cores(server: str, load: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (the server's, the load's): a third for the load by default; the same if there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return (), ()
    ours = sorted(os.sched_getaffinity(0))
    for flag, text in (("--server-cores", server), ("--load-cores", load)):
        if not set(_numbers(flag, text)) <= set(ours):
            raise ConfigError(f"{flag} {text}: this process may use {', '.join(map(str, ours))}")
    for_load = (
        _numbers("--load-cores", load)
        or [core for core in ours if core not in _numbers("", server)][-max(1, len(ours) // 3) :]
    )
    for_server = _numbers("--server-cores", server) or [core for core in ours if core not in for_load] or ours
    return tuple(for_server), tuple(for_load or ours)


def _numbers(flag: str, text: str) -> list[int]:
    """Return 0, 2, 3, 4 for "0,2-4". Raises ConfigError."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part, re.ASCII)
        if not match:
            raise ConfigError(f"{flag} {text!r} is no list of cores: 0,1 or 0-3")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found

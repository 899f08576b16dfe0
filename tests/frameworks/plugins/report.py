"""The pytest plugin of every suite: deselects the tests that are left out, and reports the results of the others.

WIRE_LEFT_OUT  a JSON file: a list of [entry of left_out.toml, reason]
WIRE_RESULTS   a file that gets a line of JSON for each test
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import wire
from matching import reason

_left_out: list[tuple[str, str]] = [
    (entry, why) for entry, why in json.loads(Path(os.environ["WIRE_LEFT_OUT"]).read_text(encoding="utf-8"))
]


def _tell(**facts: Any) -> None:
    with Path(os.environ["WIRE_RESULTS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, left = [], []
    for item in items:
        why = reason(_left_out, item.nodeid)
        if why:
            left.append(item)
            _tell(test=item.nodeid, outcome="left out", why=why)
        else:
            kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    before = wire.contacts
    item.stash[_outcomes] = {}
    done = yield
    told = item.stash[_outcomes]
    outcome = next((word for word in ("failed", "skipped") if word in told), "passed")
    why = told.get(outcome) or ""
    _tell(test=item.nodeid, outcome=outcome, why=why, contacts=wire.contacts - before)
    return done


_outcomes: pytest.StashKey[dict[str, str]] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    told = item.stash[_outcomes]
    if not report.passed:
        if report.longrepr is None:
            why = ""
        elif isinstance(report.longrepr, tuple):
            why = report.longrepr[2]
        else:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message if crash is not None else str(report.longrepr)
        told.setdefault("skipped" if report.skipped else "failed", why[:400])
    return report

"""The journal: complete lines are kept, for one lab at a time, of the same experiment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.run.journal import NAME, Journal
from allcomers.errors import ConfigError
from support.measured import EPOLL, ladder, usl

ASKED = {"words": ["run", "app:app"], "budget": 60.0}


def test_it_resumes_where_it_ended(tmp_path: Path) -> None:
    with Journal(tmp_path, ASKED, resume=False) as journal:
        seed = journal.records[0]["seed"]
        journal.add({"kind": "probe", "probe": {"cpu": 1}})
    with Journal(tmp_path, ASKED, resume=True) as journal:
        assert journal.records[0]["seed"] == seed
        assert journal.find("probe") == {"kind": "probe", "probe": {"cpu": 1}}
        assert journal.find("stage", name="screen") is None


def test_an_unfinished_experiment_is_not_overwritten(tmp_path: Path) -> None:
    Journal(tmp_path, ASKED, resume=False).__exit__(None, None, None)
    with pytest.raises(ConfigError, match="not finished: --resume"):
        Journal(tmp_path, ASKED, resume=False)
    with Journal(tmp_path, ASKED, resume=True) as journal:
        journal.add({"kind": "end"})
    with Journal(tmp_path, ASKED, resume=False) as journal:
        assert [record["kind"] for record in journal.records] == ["begin"]


def test_another_experiment_is_not_resumed(tmp_path: Path) -> None:
    Journal(tmp_path, ASKED, resume=False).__exit__(None, None, None)
    with pytest.raises(ConfigError, match="differs in budget"):
        Journal(tmp_path, {**ASKED, "budget": 61.0}, resume=True)


def test_one_lab_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path, ASKED, resume=False), pytest.raises(ConfigError, match="another lab"):
        Journal(tmp_path, ASKED, resume=True)


def test_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("dear diary\n")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="no journal"):
            Journal(tmp_path, ASKED, resume=resume)
    assert (tmp_path / NAME).read_text() == "dear diary\n"


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        Journal(tmp_path / "file" / "folder", ASKED, resume=False)


@given(cut=st.integers(0, 10_000))
def test_a_lab_that_was_killed_has_lost_at_most_the_line_that_it_wrote(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("lab")
    with Journal(folder, ASKED, resume=False) as journal:
        for number in range(3):
            journal.add({"kind": "trial", "trial": {"number": number}})
    data = (folder / NAME).read_bytes()
    started = data.index(b"\n") + 1
    cut = started + cut % (len(data) - started + 1)
    (folder / NAME).write_bytes(data[:cut])
    with Journal(folder, ASKED, resume=True) as journal:
        assert [trial["trial"]["number"] for trial in journal.all("trial")] == list(
            range(data[started:cut].count(b"\n"))
        )
        journal.add({"kind": "end"})
    lines = (folder / NAME).read_text().splitlines()
    assert json.loads(lines[-1]) == {"kind": "end"}


def test_a_trial_is_restored_as_it_was() -> None:
    trial = ladder(EPOLL, usl(1000, 0.01, 0.0), rounds=1, curve=((0.01, 0.5), (0.02, 1.0)), series=(1.0, 2.0))[0]
    assert Trial.from_dict(json.loads(json.dumps(trial.as_dict()))) == trial

"""The journal: complete lines are kept, for one lab at a time, of the same experiment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.lab.analysis.figures import Trial
from allcomers.commands.lab.run.journal import NAME, UNFINISHED, Journal
from allcomers.errors import AppError, ConfigError
from support.measured import EPOLL, ladder, usl

ASKED = {"words": ["run", "app:app"], "budget": 60.0}


TRIAL = {"kind": "trial", "trial": {"number": 0}}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def finished(folder: Path, budget: float = 60.0) -> str:
    """Finish an experiment of one trial; return its journal."""
    with Journal(folder, {**ASKED, "budget": budget}, resume=False) as journal:
        journal.add(TRIAL)
        journal.finish()
    return (folder / NAME).read_text()


def test_it_resumes_where_it_ended(tmp_path: Path) -> None:
    with Journal(tmp_path, ASKED, resume=False) as journal:
        seed = journal.records[0]["seed"]
        journal.add({"kind": "probe", "probe": {"cpu": 1}})
        journal.add(TRIAL)
    with Journal(tmp_path, ASKED, resume=True) as journal:
        assert journal.records[0]["seed"] == seed
        assert journal.find("probe") == {"kind": "probe", "probe": {"cpu": 1}}
        assert journal.find("stage", name="screen") is None
        journal.finish()
    assert names(tmp_path) == {NAME}


def test_an_experiment_without_a_trial_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AppError), Journal(tmp_path / "new" / "lab", ASKED, resume=False):
        raise AppError("there is no module 'app'")
    assert names(tmp_path) == set()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes").write_text("mine")
    Journal(tmp_path / "own", ASKED, resume=False).__exit__(None, None, None)
    assert names(tmp_path / "own") == {"notes"}


def test_a_finished_experiment_stays_until_there_is_another(tmp_path: Path) -> None:
    first = finished(tmp_path)
    with Journal(tmp_path, ASKED, resume=False) as journal:
        assert (tmp_path / NAME).read_text() == first
        journal.add(TRIAL)
    assert (tmp_path / NAME).read_text() == first
    with Journal(tmp_path, ASKED, resume=True) as journal:
        journal.finish()
    assert names(tmp_path) == {NAME}
    assert (tmp_path / NAME).read_text() != first


def test_a_finished_experiment_can_be_read_again(tmp_path: Path) -> None:
    first = finished(tmp_path)
    with Journal(tmp_path, ASKED, resume=True) as journal:
        assert journal.all("trial") == [TRIAL]
        journal.finish()
    assert (tmp_path / NAME).read_text() == first


def test_an_unfinished_experiment_blocks_no_other_and_is_kept(tmp_path: Path) -> None:
    for number in (1, 2):
        with Journal(tmp_path, {**ASKED, "budget": number}, resume=False) as journal:
            journal.add(TRIAL)
    assert journal.kept == tmp_path / "unfinished-1.jsonl"
    with Journal(tmp_path, ASKED, resume=False) as journal:
        assert journal.kept == tmp_path / "unfinished-2.jsonl"
        journal.add(TRIAL)
        journal.finish()
    assert names(tmp_path) == {NAME, "unfinished-1.jsonl", "unfinished-2.jsonl"}
    (tmp_path / "unfinished-1.jsonl").rename(tmp_path / UNFINISHED)
    with Journal(tmp_path, {**ASKED, "budget": 1}, resume=True) as journal:
        assert journal.all("trial") == [TRIAL]


def test_one_without_a_trial_takes_no_place(tmp_path: Path) -> None:
    with Journal(tmp_path, ASKED, resume=False) as journal:
        journal.add(TRIAL)
    with pytest.raises(AppError), Journal(tmp_path, {**ASKED, "words": ["run", "ap:app"]}, resume=False):
        raise AppError("there is no module 'ap'")
    assert names(tmp_path) == {UNFINISHED}
    with Journal(tmp_path, ASKED, resume=True) as journal:
        assert journal.all("trial") == [TRIAL]


def test_one_that_was_killed_before_its_first_trial_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / UNFINISHED).write_text('{"kind":"begin"}\n{"kind":"pro')
    with Journal(tmp_path, ASKED, resume=False) as journal:
        assert journal.kept is None


def test_another_experiment_is_not_resumed(tmp_path: Path) -> None:
    with Journal(tmp_path, ASKED, resume=False) as journal:
        journal.add(TRIAL)
    before = (tmp_path / UNFINISHED).read_text()
    with pytest.raises(ConfigError, match="differs in budget"):
        Journal(tmp_path, {**ASKED, "budget": 61.0}, resume=True)
    assert (tmp_path / UNFINISHED).read_text() == before


def test_one_lab_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path, ASKED, resume=False):
        for resume in (False, True):
            with pytest.raises(ConfigError, match="another lab"):
                Journal(tmp_path, ASKED, resume=resume)
    Journal(tmp_path, ASKED, resume=False).__exit__(None, None, None)


def test_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    for name in (NAME, UNFINISHED):
        (tmp_path / name).write_text("dear diary\n")
        for resume in (False, True):
            with pytest.raises(ConfigError, match=f"{name} is no journal"):
                Journal(tmp_path, ASKED, resume=resume)
        assert (tmp_path / name).read_text() == "dear diary\n"
        (tmp_path / name).unlink()


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
    data = (folder / UNFINISHED).read_bytes()
    started = data.index(b"\n") + 1
    cut = started + cut % (len(data) - started + 1)
    (folder / UNFINISHED).write_bytes(data[:cut])
    with Journal(folder, ASKED, resume=True) as journal:
        assert [trial["trial"]["number"] for trial in journal.all("trial")] == list(
            range(data[started:cut].count(b"\n"))
        )
        journal.finish()
    lines = (folder / NAME).read_text().splitlines()
    assert json.loads(lines[-1]) == {"kind": "end"}


def test_a_trial_is_restored_as_it_was() -> None:
    trial = ladder(EPOLL, usl(1000, 0.01, 0.0), rounds=1, curve=((0.01, 0.5), (0.02, 1.0)), series=(1.0, 2.0))[0]
    assert Trial.from_dict(json.loads(json.dumps(trial.as_dict()))) == trial

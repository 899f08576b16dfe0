"""A file of options that `serve` finds by itself may have come with the folder: it does not lead out of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from allcomers.config import sources
from allcomers.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "downloaded"
    (made / "site").mkdir(parents=True)
    (made / "etc").symlink_to("/etc")
    (made / "site" / "out").symlink_to("/etc")
    monkeypatch.chdir(made)
    return made


OUTWARD = [
    'dir = "/etc"',
    'dir = ".."',
    'dir = "etc"',
    'dir = "site/../../x"',
    'chdir = "/etc"',
    'chdir = "site"\ndir = "out"',
    'access_log = "../log"',
    'access_log = "etc/log"',
    'pid = "/run/x.pid"',
    "follow_links = true",
]


@pytest.mark.parametrize("text", OUTWARD)
@pytest.mark.parametrize("name", ["allcomers.toml", "pyproject.toml"])
def test_what_leads_out_is_refused_unless_the_file_is_named(folder: Path, text: str, name: str) -> None:
    table = "" if name == "allcomers.toml" else "[tool.allcomers]\n"
    (folder / name).write_text(table + text)
    with pytest.raises(ConfigError, match=r"out(side)? of this folder; if that is meant, name the file: --config FILE"):
        sources.gather("serve", {}, {})
    assert sources.gather("serve", {}, {}, file=name).given
    assert sources.gather("serve", {}, {"ALLCOMERS_CONFIG": name}).given


def test_what_stays_inside_is_taken_and_told(folder: Path) -> None:
    (folder / "allcomers.toml").write_text('chdir = "site"\ndir = "../site"\naccess_log = "-"\nworkers = 2\n')
    settings = sources.gather("serve", {}, {})
    assert settings.own["dir"] == "../site"
    assert settings.notes == [f"options are taken from {folder}/allcomers.toml"]


def test_a_stronger_option_replaces_what_leads_out(folder: Path) -> None:
    (folder / "allcomers.toml").write_text('dir = "/etc"\n')
    settings = sources.gather("serve", {"dir": ("site", "DIR")}, {})
    assert (settings.own["dir"], settings.notes) == ("site", [])


def test_for_run_the_folder_has_code_anyway(folder: Path) -> None:
    (folder / "allcomers.toml").write_text('access_log = "../log"\ntarget = "app"\n')
    settings = sources.gather("run", {}, {})
    assert (settings.config.access_log, settings.notes) == ("../log", [])

"""What root reads, and writes: nothing that another user may have written, or can lead elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from allcomers.config import sources, trusted_files
from allcomers.errors import ConfigError

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root trusts nobody")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root's that others may enter, in a sticky one."""
    made = Path(tempfile.mkdtemp(prefix="allcomers-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def written(path: Path, mode: int = 0o644, owner: int = 0, group: int = 0) -> Path:
    path.write_bytes(b"workers = 2\n")
    os.chown(path, owner, group)
    path.chmod(mode)
    return path


def test_a_file_of_root_s_is_read(folder: Path) -> None:
    assert trusted_files.read(str(written(folder / "a.toml"))) == b"workers = 2\n"


@pytest.mark.parametrize(("mode", "owner", "group"), [(0o646, 0, 0), (0o664, 0, NOBODY), (0o600, NOBODY, 0)])
def test_a_file_that_others_may_write_is_not(folder: Path, mode: int, owner: int, group: int) -> None:
    with pytest.raises(ConfigError, match=r"another user may write to 'a\.toml'"):
        trusted_files.read(str(written(folder / "a.toml", mode, owner, group)))


@pytest.mark.parametrize(
    ("mode", "owner", "group"), [(0o757, 0, 0), (0o775, 0, NOBODY), (0o700, NOBODY, 0), (0o1777, NOBODY, 0)]
)
@pytest.mark.parametrize("below", ["", "inner"])
def test_nor_one_in_or_below_such_a_folder(folder: Path, mode: int, owner: int, group: int, below: str) -> None:
    (folder / below).mkdir(exist_ok=True)
    written(folder / below / "a.toml")
    os.chown(folder, owner, group)
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=f"may write to '{folder}'"):
        trusted_files.read(str(folder / below / "a.toml"))


def test_a_file_of_root_s_in_a_sticky_folder_is_read_and_one_of_others_is_not(folder: Path) -> None:
    folder.chmod(0o1777)
    assert trusted_files.read(str(written(folder / "a.toml")))
    with pytest.raises(ConfigError):
        trusted_files.read(str(written(folder / "b.toml", owner=NOBODY)))


def test_links_count_where_only_root_can_have_made_them(folder: Path) -> None:
    own, others = folder / "own", folder / "others"
    own.mkdir()
    others.mkdir()
    written(own / "a.toml")
    (folder / "link.toml").symlink_to("own/../own/a.toml")
    (own / "up").symlink_to(folder)
    assert trusted_files.read(str(folder / "link.toml"))
    assert trusted_files.read(str(own / "up" / "own" / "a.toml"))
    (others / "link.toml").symlink_to(own / "a.toml")
    os.chown(others, NOBODY, 0)
    with pytest.raises(ConfigError, match=f"may write to '{others}'"):
        trusted_files.read(str(others / "link.toml"))


def test_a_circle_of_links_and_what_is_not_there(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        trusted_files.read(str(folder / "a"))
    with pytest.raises(FileNotFoundError):
        trusted_files.read(str(folder / "c"))


def test_no_descriptor_is_left_open(folder: Path) -> None:
    written(folder / "a.toml")
    written(folder / "b.toml", owner=NOBODY)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for name in ("a.toml", "b.toml", "c.toml", "a.toml/d"):
        try:
            trusted_files.read(str(folder / name))
        except (OSError, ConfigError):
            continue
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_for_a_log_only_those_groups_count_whose_members_it_is_for(folder: Path) -> None:
    os.chown(folder, 0, 4)
    folder.chmod(0o775)
    found, name = trusted_files.open_folder(str(folder / "log"), {NOBODY})
    os.close(found)
    assert name == "log"
    with pytest.raises(ConfigError):
        trusted_files.open_folder(str(folder / "log"), {NOBODY, 4})


# ------------------------------------------------------------ options


def test_options_of_others_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    written(folder / "allcomers.toml", owner=NOBODY)
    with pytest.raises(ConfigError, match=r"another user may write to 'allcomers\.toml'"):
        sources.gather("run", {}, {})
    (folder / "allcomers.toml").unlink()
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    os.chown(folder / "pyproject.toml", NOBODY, 0)
    assert sources.gather("run", {}, {}).config.workers == 1  # it has nothing for us
    (folder / "pyproject.toml").write_text("[tool.allcomers]\nworkers = 2\n")
    with pytest.raises(ConfigError, match=r"another user may write to 'pyproject\.toml'"):
        sources.gather("run", {}, {})


def test_so_are_variables_of_others(folder: Path) -> None:
    from allcomers.config.migration.env_file import variables

    assert variables(str(written(folder / "env"))) == {"workers": "2"}
    with pytest.raises(ConfigError, match="another user"):
        variables(str(written(folder / "env", owner=NOBODY)))

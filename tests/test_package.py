"""What is installed: the files that are no Python, and the licences of what came from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.harness import ROOT

pytest.importorskip("setuptools")

FOLDERS = [ROOT / "src/allcomers/server" / name for name in ("charts/assets", "admin/dashboard")]
PAGES = [path for folder in FOLDERS for path in folder.rglob("*")]
NEEDED = {str(path.relative_to(ROOT / "src")) for path in PAGES if path.is_file()}


def test_wheel_and_sdist_have_the_files_of_pages_and_their_licence(tmp_path: Path) -> None:
    commands = ["egg_info", "-e", tmp_path, "sdist", "-d", tmp_path, "build", "-b", tmp_path / "build"]
    command = [sys.executable, "setup.py", "-q", *commands, "bdist_wheel", "-d", tmp_path]
    env = {**os.environ, "ALLCOMERS_PURE": "1"}
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, timeout=120)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    wheeled = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/src/")[2] for name in archive.getnames()}
    assert {
        f"allcomers/server/charts/assets/{name}" for name in ("charts.js", "uplot/LICENSE", "uplot/VERSION")
    } <= NEEDED
    assert wheeled >= NEEDED
    assert packed >= NEEDED
    assert any(name.endswith("licenses/src/allcomers/server/charts/assets/uplot/LICENSE") for name in wheeled)


def test_the_vendored_file_is_of_the_version_that_it_says() -> None:
    folder = ROOT / "src/allcomers/server/charts/assets/uplot"
    version = (folder / "VERSION").read_text().strip()
    assert f"uPlot (v{version})" in (folder / "uPlot.iife.min.js").read_text()[:100]

"""A server that root starts, and whose workers run as nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.harness import ROOT, Server

NOBODY = 65534


def python_for_all() -> str:
    """Return a Python that `nobody` can run, too; "" if there is none. One in root's home is for root alone."""
    for python in (sys.executable, shutil.which("python3", path="/usr/bin") or ""):
        command = [python, "-c", "import sys, encodings, asyncio; print(sys.version_info >= (3, 11))"]
        try:
            found = subprocess.run(command, user="nobody", capture_output=True, text=True, cwd="/")
        except (OSError, LookupError):
            continue
        if found.stdout == "True\n" and os.access(ROOT / "src", os.R_OK):
            return python
    return ""


def python_or_skip() -> str:
    """Return a Python that `nobody` can run; skip the test where there is none, or nobody may become somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    python = python_for_all()
    if not python:
        pytest.skip("no Python that nobody can read")
    return python


@contextmanager
def folder_for_all(mode: int, source: str) -> Iterator[Path]:
    """A folder with this mode, and `source` as its app.py; pytest's own belong to one user."""
    folder = Path(tempfile.mkdtemp(prefix="allcomers-test-"))
    folder.chmod(mode)
    (folder / "app.py").write_text(source)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def as_nobody(folder: Path, python: str, *arguments: str, cwd: Path = ROOT) -> Server:
    """Run the App in a folder's app.py by a Python that nobody can read."""
    env = {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return Server("run", f"{folder / 'app.py'}:App", *arguments, env=env, before=[python], cwd=cwd)


@contextmanager
def serving_as_nobody(folder: Path, python: str, *arguments: str, cwd: Path = ROOT) -> Iterator[Server]:
    """The same for the length of a block, with --user nobody; it must end well."""
    server = as_nobody(folder, python, "--user", "nobody", *arguments, cwd=cwd)
    try:
        assert server.address[1], server.stderr
        yield server
    finally:
        status = server.stop()
    assert status == 0

"""The environment of the suites, .venv/frameworks: their packages, and their sdists unpacked."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / ".venv" / "frameworks"
PYTHON = FOLDER / "bin" / "python"

ALWAYS = ("pytest>=9", "pytest-timeout", "trustme", "uvloop", "websockets>=13.1")
"""Packages of the plugins, and those that users of this server install beside it."""


def prepare(sdists: Sequence[str], needs: Sequence[str]) -> dict[str, Path]:
    """Install and unpack what is not there yet. Return the folder of each sdist."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    packages = sorted({*ALWAYS, *sdists, *needs})
    stamp = FOLDER / f"installed-{hashlib.sha256(repr(packages).encode()).hexdigest()[:16]}"
    if not stamp.exists():
        _pip("install", "--upgrade", "pip")
        _pip("install", *packages)
        stamp.touch()
    return {sdist: _unpacked(sdist) for sdist in sdists}


def _unpacked(sdist: str) -> Path:
    name, _, version = sdist.partition("==")
    folder = FOLDER / "sdists" / f"{name}-{version}"
    if not folder.exists():
        _pip("download", "--no-deps", "--no-binary", ":all:", "--dest", str(folder.parent), sdist)
        with tarfile.open(folder.parent / f"{name}-{version}.tar.gz") as archive:
            archive.extractall(folder.parent, filter="data")
    return folder


def _pip(*arguments: str) -> None:
    done = subprocess.run([PYTHON, "-m", "pip", *arguments, "--quiet"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"pip {' '.join(arguments)}:\n{done.stdout}{done.stderr}")

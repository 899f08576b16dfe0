"""The peers' own environments, bench/out/peers/PYTHON: never that of allcomers, nor the system's.

Each requirement is installed by itself, so that one that cannot be leaves the others alone. If this Python will not do
(no wheel, no compiler, a missing header), the others of the machine are tried. The outcome is remembered in
installed.json: `--reinstall` forgets that.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.support.harness import OUT, CannotMeasureError

PLACE = OUT / "peers"
REMEMBERED = PLACE / "installed.json"
PATIENCE = 300.0  # seconds for one requirement
OTHERS = 2  # further Pythons that are tried
REASON = re.compile(r"(?:fatal )?error: .*|.*No matching distribution.*", re.I)


def python_with(requirements: tuple[str, ...]) -> Path:
    """Return the interpreter of an environment that has all of them. Raises CannotMeasureError: the reason, in a
    line."""
    known = recall()
    key = " ".join(requirements)
    if key not in known or not (known[key].get("failed") or Path(known[key]["python"]).exists()):
        known[key] = installed(requirements)
        PLACE.mkdir(parents=True, exist_ok=True)
        REMEMBERED.write_text(json.dumps(known, indent=1) + "\n")
    if "failed" in known[key]:
        raise CannotMeasureError(known[key]["failed"])
    return Path(known[key]["python"])


def recall() -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(REMEMBERED.read_text())
    except (OSError, ValueError):
        return {}
    return known


def forget() -> None:
    shutil.rmtree(PLACE, ignore_errors=True)


def installed(requirements: tuple[str, ...]) -> dict[str, str]:
    failure = ""
    for base in [sys._base_executable, *others()]:  # type: ignore[attr-defined]
        try:
            return {"python": str(installed_on(base, requirements))}
        except (OSError, subprocess.SubprocessError) as error:
            failure = failure or reason(error)
    return {"failed": f"cannot be installed: {failure}"}


def installed_on(base: str, requirements: tuple[str, ...]) -> Path:
    version = output_of(base, "import sys; print('%d.%d' % sys.version_info[:2])")
    python = PLACE / version / "bin" / "python"
    if not python.exists():
        print(f"an environment for the peers: {python.parent.parent}", flush=True)
        run([base, "-m", "venv", str(PLACE / version)])
    print(f"installing {' '.join(requirements)}", flush=True)
    run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
    return python


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)


def output_of(python: str, code: str) -> str:
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, timeout=20)
    return done.stdout.strip()


def reason(error: Exception) -> str:
    """Return the first error of pip or the compiler, in one line."""
    output = str(getattr(error, "stderr", "") or "") + str(getattr(error, "stdout", "") or "")
    lines = [match[0].strip() for match in REASON.finditer(output) if "subprocess" not in match[0]]
    return (lines[0] if lines else str(error))[:160]


def others() -> Iterator[str]:
    """Return other Pythons of this machine, newer ones first: those on PATH, and pyenv's."""
    found = 0
    for minor in range(14, 9, -1):
        if minor == sys.version_info.minor:
            continue
        named = shutil.which(f"python3.{minor}")
        kept = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3"))
        for base in [str(path) for path in kept] or ([named] if named else []):
            if found < OTHERS and os.access(base, os.X_OK):
                found += 1
                yield base


def versions() -> dict[str, str]:
    """Return the version of every package in the environments, with the Python if it is another."""
    packages: dict[str, str] = {}
    for python in sorted({entry["python"] for entry in recall().values() if "python" in entry}):
        done = subprocess.run(
            [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        other = Path(python).parent.parent.name
        suffix = "" if other == f"{sys.version_info.major}.{sys.version_info.minor}" else f" (Python {other})"
        for package in json.loads(done.stdout) if done.returncode == 0 else ():
            packages.setdefault(package["name"].lower(), package["version"] + suffix)
    return packages

"""The environment of the applications, their clients and the other servers: .venv/applications."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from bench.applications.table import PACKAGES, base_python
from bench.support.harness import ROOT, CannotMeasureError

FOLDER = ROOT / ".venv" / "applications"


def python() -> Path:
    """Return the interpreter of that environment; install what is missing. Raises CannotMeasureError."""
    found = FOLDER / "bin" / "python"
    stamp = FOLDER / f"installed-{hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:16]}"
    if not stamp.exists():
        print(f"installing the applications' packages into {FOLDER}", file=sys.stderr, flush=True)
        try:
            subprocess.run([base_python(), "-m", "venv", str(FOLDER)], check=True)
            for packages in (("--upgrade", "pip"), PACKAGES):
                subprocess.run([str(found), "-m", "pip", "install", "--quiet", *packages], check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise CannotMeasureError(f"the applications cannot be installed: {error}") from None
        stamp.touch()
    return found

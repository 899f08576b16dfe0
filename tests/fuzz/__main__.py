"""Fuzz one target with atheris, guided by the coverage of the plain Python; tools/fuzz makes its environment.

python -m tests.fuzz head SECONDS          for so long, from the corpus on; an input that fails is kept in build/fuzz/
python -m tests.fuzz head SECONDS --keep   then put what reaches more than the corpus into it, the shortest first
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = ["tests"]  # as pyproject.toml has it for pytest

PLACE = Path(__file__).parent / "corpus"
WORK = Path("build/fuzz")
LONGEST = 1024
MOST_KEPT = 60


def fuzz(name: str, seconds: int) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["allcomers.protocol", "allcomers.errors", "websockets"]):
        from fuzz.targets import TARGETS
    found = WORK / name
    for number, seed in enumerate(TARGETS[name].seeds):
        (found / f"seed{number}").write_bytes(seed)
    arguments = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=1500"]
    arguments += ["-print_final_stats=1", f"-artifact_prefix={WORK}/{name}-", str(found), str(PLACE / name)]
    check = TARGETS[name].check

    def run(data: bytes) -> None:
        check(data)  # whose result is no status of libFuzzer's

    atheris.Setup([sys.argv[0], *arguments], run)
    atheris.Fuzz()


def keep(name: str) -> None:
    """Put into the corpus what reaches lines, or has an outcome, that nothing shorter has; at most MOST_KEPT inputs."""
    from fuzz.targets import TARGETS

    inputs = {
        path.read_bytes() for folder in (PLACE / name, WORK / name) if folder.is_dir() for path in folder.iterdir()
    }
    reached: set[object] = set()
    kept = []
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        more = _features(TARGETS[name].check, data) - reached
        if more and len(kept) < MOST_KEPT:
            reached |= more
            kept.append(data)
    (PLACE / name).mkdir(parents=True, exist_ok=True)
    for path in (PLACE / name).iterdir():
        path.unlink()
    for data in kept:
        (PLACE / name / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    print(f"{name}: {len(kept)} of {len(inputs)} inputs kept, {sum(map(len, kept))} bytes")


def _features(check: Callable[[bytes], object], data: bytes) -> set[object]:
    """Return the pairs of lines, one run after the other, of protocol/ that `data` reaches, and its outcome."""
    found: set[object] = set()

    def trace(frame: object, event: str, argument: object) -> object:
        code, before = frame.f_code, 0  # type: ignore[attr-defined]
        if "protocol" not in code.co_filename:
            return None

        def lines(frame: object, event: str, argument: object) -> object:
            nonlocal before
            found.add((code, before, frame.f_lineno))  # type: ignore[attr-defined]
            before = frame.f_lineno  # type: ignore[attr-defined]
            return lines

        return lines

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        found.add(check(data))
    finally:
        sys.settrace(None)
    return found


def main(name: str, seconds: str, *options: str) -> int:
    (WORK / name).mkdir(parents=True, exist_ok=True)
    (PLACE / name).mkdir(parents=True, exist_ok=True)
    if "--here" in options:
        fuzz(name, int(seconds))
    status = subprocess.run([sys.executable, "-m", "tests.fuzz", name, seconds, "--here"], env=os.environ).returncode
    if "--keep" in options:
        keep(name)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Completions for shells, asked of the shells themselves; and the man page that the options are made into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from allcomers.commands.main import COMMANDS, SUMMARIES
from allcomers.commands.shell import reference
from allcomers.config import options as configs
from allcomers.models import TABLE
from support.harness import PATIENCE, ROOT

ASKED = {
    "bash": """
eval "$SCRIPT"
read -ra COMP_WORDS <<< "$LINE"
[ "${LINE: -1}" = " " ] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_allcomers
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "fish": "echo $SCRIPT | source; complete -C $LINE | string replace -r '\\t.*' ''; true",
}


@cache
def script(shell: str) -> str:
    command = [sys.executable, "-m", "allcomers", "completions", shell]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def completed(shell: str, line: str) -> set[str]:
    """Return the words that a shell offers after `line`."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    environment = {**os.environ, "SCRIPT": script(shell), "LINE": line}
    done = subprocess.run(
        [shell, "-c", ASKED[shell]], capture_output=True, text=True, timeout=PATIENCE, env=environment, cwd=ROOT / "src"
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("allcomers ", set(COMMANDS)),
        ("allcomers run --work", {"--workers", "--workers-lifetime"}),
        ("allcomers serve --follow", {"--follow-links"}),
        ("allcomers run --follow", set()),
        ("allcomers run --model ", set(TABLE)),
        ("allcomers dev --debu", {"--debug"}),
        ("allcomers doctor --calls ", {"inline", "pool", "auto"}),
        ("allcomers load --hos", {"--hostile"}),
        ("allcomers completions ", {"bash", "zsh", "fish"}),
    ],
)
def test_a_shell_completes(shell: str, line: str, expected: set[str]) -> None:
    assert completed(shell, line) == expected


def test_zsh_takes_its_script() -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    asked = 'autoload -U compinit; compinit -u -D; eval "$SCRIPT"; print $_comps[allcomers]'
    environment = {**os.environ, "SCRIPT": script("zsh")}
    done = subprocess.run(["zsh", "-fc", asked], capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert (done.stdout, done.stderr) == ("_allcomers\n", "")


def test_an_unknown_shell_gets_a_suggestion() -> None:
    command = [sys.executable, "-m", "allcomers", "completions", "zhs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("takes one of bash, zsh, fish; did you mean 'zsh'?\n")


def test_every_option_is_known() -> None:
    for command in ("run", "serve"):
        names = {name for flag in reference.flags(command) for name in flag.names}
        assert {name for _, _, option in configs.known(command) for name in option.flags} <= names
    assert {name.partition(" ")[0] for name in SUMMARIES} == set(COMMANDS)


def test_the_man_page_is_that_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "tools/man-page", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_man_page_has_no_fault() -> None:
    page = str(Path("man") / "allcomers.1")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", page], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")

"""The commands of a page (page_commands.py), run as a reader types them: what stays has a terminal of its own.

A server runs until the next one starts or the section ends, on a free port, which stands for the page's 8000 and 9000.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from support.harness import ROOT, wait_for
from support.page_commands import Section, Step, serves, stays

LIMIT = 30.0
"""Seconds that a command may take: a client that waits for an idle connection to be closed would take 75."""

AGAIN = 10.0
"""Seconds in which a command may be run again until it prints what the page says: others use this machine, too."""

SHORTER = 9.0
"""Seconds by which a time on the page is longer than here, where --head-timeout is 1 rather than 10."""

IDLE = 1000
"""Clients in place of the 5,000 of a page: with so many, a thousand waits take some seconds."""

STAND_INS = {
    "DIR/index.html": "a folder",
    "public/index.html": "another",
    "main.py": "async def app(scope, receive, send):\n    raise RuntimeError('nobody asks')\n",
    "mysite/wsgi.py": "def application(environ, start_response):\n    raise RuntimeError('nobody asks')\n",
    "shop.py": "def create_app(name):\n    return lambda environ, start_response: [name.encode()]\n",
}
"""What readers have of their own."""

LEFT_OUT = ("make ", "pip ", "source ")

_VARIABLE = re.compile(r"(?P<minutes>\d+)m(?P<rest>[\d.]+)s\b|(?P<seconds>\d+\.\d+) s\b|…|\[[\d ]+\]|\s+|\d[\d.,]*")
"""A part of a line that may differ from run to run: a time, something left out, descriptors, space, a number."""

_NUMBERED = re.compile(r"(?:process |call-|Thread-|pid )$")


# ---------------------------------------------------------------- what is needed


def missing(section: Section) -> str:
    """Return the reason why a section cannot run here, or ""."""
    tools = re.findall(r"(?:^|\| |\()(curl|nc|ps|pstree|strace|pgrep)\b", "\n".join(section.commands), re.M)
    for tool in ("bash", *tools):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if any("nc -N" in command for command in section.commands) and not _knows_nc_n():
        return "this nc has no -N"
    if "recvfrom" in section.text and not _is_compiled():
        return "the page has the system calls of the compiled build"
    if "strace" in tools and not _may_trace():
        return "strace may not attach to another process here"
    return ""


@cache
def _knows_nc_n() -> bool:
    told = subprocess.run(["nc", "-h"], capture_output=True, text=True, timeout=LIMIT)
    return re.search(r"-\w*N", told.stdout + told.stderr) is not None


@cache
def _is_compiled() -> bool:
    told = subprocess.run(
        [sys.executable, "-m", "allcomers", "--version"], capture_output=True, text=True, timeout=LIMIT
    )
    return "(compiled)" in told.stdout


@cache
def _may_trace() -> bool:
    """Return True if strace may attach to a process that it has not started (ptrace(2), ptrace_scope)."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        tracer = subprocess.Popen(["strace", "-p", str(other.pid)], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        first = tracer.stderr.readline()
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=LIMIT)
    return "attached" in first


# ---------------------------------------------------------------- what is printed


def matches(expected: str, printed: str, *, measured: bool, shorter: float = 0.0) -> bool:
    """Return True if `printed` is the line `expected` of a page, but for what differs from run to run.

    That is: spaces, `…`, numbers of more than three digits or with decimals, the numbers of processes and threads; all
    numbers where they are `measured`; and times, which may be up to one second shorter and two seconds longer.
    """
    expected = expected.strip()
    if "per loop" in expected:
        expected, measured = re.sub(r"[mun]?sec", "…", expected), True
    pattern, times, at = "", list[float](), 0
    for found in _VARIABLE.finditer(expected):
        pattern += re.escape(expected[at : found.start()]) + _like(found, measured=measured)
        at = found.end()
        if found["minutes"] or found["seconds"]:
            times.append(60 * float(found["minutes"] or 0) + float(found["rest"] or found["seconds"]))
    same = re.fullmatch(pattern + re.escape(expected[at:]), printed.strip())
    if same is None:
        return False
    groups = iter(same.groups())
    took = [60 * float(minutes or 0) + float(rest) for minutes, rest in zip(groups, groups, strict=True)]
    wanted = [time - shorter if time > SHORTER else time for time in times]
    return all(least - 1 < actual < least + 2 for least, actual in zip(wanted, took, strict=True))


def _like(found: re.Match[str], *, measured: bool) -> str:
    """Return the pattern of all that may stand in its place; a time has two groups, minutes and seconds."""
    text = found[0]
    if found["minutes"]:
        return r"(\d+)m([\d.]+)s"
    if found["seconds"]:
        return r"()([\d.]+) s"
    if text == "…":
        return ".*"
    if text.isspace():
        return r"\s+"
    if text.startswith("["):
        return r"\[[\d ]+\]" if measured else re.escape(text)
    varies = measured or not text.isdigit() or len(text) > 3 or _NUMBERED.search(found.string[: found.start()])
    return r"\d[\d.,]*" if varies else text


# ---------------------------------------------------------------- running


class Terminals:
    """The terminals of one section, in a folder of their own."""

    def __init__(self, section: Section, folder: Path) -> None:
        self._section = section
        self._folder = folder
        self._port = 0
        self._supervisor = 0
        self._open: list[_Terminal] = []
        self._closed: list[tuple[str, str]] = []  # (command, all that it printed)
        self._late: list[tuple[str, list[str]]] = []  # (command or "" for any, lines that are expected of it)
        self._shorter = SHORTER if re.search(r"^200 in 1\d\.", section.text, re.M) else 0.0
        self._limits = "ulimit -n 8000; " if "ulimit -n 8000" in section.text else ""
        self._env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "ALLCOMERS_BIND": "127.0.0.1:0",
            "GUESTBOOK_DB": str(folder / "guestbook.sqlite3"),
            "PYTHONUNBUFFERED": "1",
        }
        if self._shorter:
            self._env["ALLCOMERS_HEAD_TIMEOUT"] = f"{10 - SHORTER:g}"
        (folder / "examples").symlink_to(ROOT / "examples")
        for name, text in STAND_INS.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    def run(self) -> None:
        """Take all steps. Raises AssertionError where the page promises too much."""
        try:
            for step in self._section.steps:
                self._step(step)
            self._close()
            for command, expected in self._late:
                screens = [text for of, text in self._closed if command in ("", of)]
                self._compare(expected, "\n".join(screens), command)
            for command, printed in self._closed:
                if command.startswith("strace -c"):
                    assert re.search(r" \d+ +\w+$", printed, re.M), f"{command}: it has seen no system call:\n{printed}"
        finally:
            for terminal in self._open:
                terminal.kill()

    def _step(self, step: Step) -> None:
        if step.later and step.expected:
            self._late.append((step.commands[0] if step.commands else "", step.expected))
        until = time.monotonic() + AGAIN
        while True:
            printed = "".join(self._command(command) for command in step.commands)
            if step.later or not step.expected:
                return
            try:
                self._compare(step.expected, printed, " and ".join(step.commands))
                return
            except AssertionError:
                if time.monotonic() > until:
                    raise

    def _compare(self, expected: list[str], printed: str, command: str) -> None:
        measured = "strace" in command or "strace" in " ".join(of for of, _ in self._closed)
        for line in expected:
            assert any(matches(line, one, measured=measured, shorter=self._shorter) for one in printed.splitlines()), (
                f"{command or self._section.title} does not print {line!r}, but:\n{printed}"
            )

    def _command(self, command: str) -> str:
        """Run it, in a terminal of its own if it stays; return its output so far."""
        if command.startswith(LEFT_OUT):
            if command.startswith("make "):
                assert f"\n{command.removeprefix('make ')}: " in (ROOT / "Makefile").read_text(), command
            return ""
        if serves(command):
            return self._serve(command)
        typed = self._here(command.replace("idle.py 5000", f"idle.py {IDLE}"))
        if stays(command):
            terminal = _Terminal(command, typed, self)
            self._open.append(terminal)
            terminal.ready("attached" if command.startswith("strace") else "open" if "idle" in command else "held")
            return ""
        if command.startswith("allcomers load"):
            typed += " --duration 1"
        terminal = _Terminal(command, typed, self)
        status = terminal.wait()
        self._closed.append((command, terminal.printed))
        assert status == 0, f"{command} ends with {status}: {terminal.printed}"
        return terminal.printed

    def _serve(self, command: str) -> str:
        self._close()
        bound = re.sub(r"(--bind|-b) 127\.0\.0\.1:\d+", r"\1 127.0.0.1:0", command)
        terminal = _Terminal(command, f"exec {self._saved(bound)}", self)
        self._open.append(terminal)
        terminal.ready("Listening at")
        if found := re.search(r"Listening at: \w+://127\.0\.0\.1:(\d+) \(pid (\d+)\)", terminal.printed):
            self._port, self._supervisor = int(found[1]), int(found[2])
        else:
            assert any(step.commands == [command] and step.expected for step in self._section.steps), terminal.printed
        return terminal.printed

    def _here(self, command: str) -> str:
        """Return the command with the port and process id that the server has here."""
        traced = re.sub(r"\$\(pgrep -of 'allcomers \w+'\)", str(self._supervisor), command)
        if command.startswith("exec "):
            traced += "; echo held; read"
        elif stays(command):
            traced = f"exec {traced}"
        return self._saved(traced)

    def _saved(self, command: str) -> str:
        """Save the files, and return the command, for the port that is in use now."""
        for name, code in self._section.files.items():
            (self._folder / name).write_text(self._ported(code))
        return self._ported(command)

    def _ported(self, text: str) -> str:
        return re.sub(r'(127\.0\.0\.1["]?[:/, ]+)(8000|9000)\b', rf"\g<1>{self._port}", text)

    def _close(self) -> None:
        """Close all terminals, those of servers last: a client that stays would keep them."""
        for terminal in sorted(self._open, key=lambda terminal: serves(terminal.command)):
            status = terminal.close()
            self._closed.append((terminal.command, terminal.printed))
            if serves(terminal.command):
                stopped = "Listening at" in terminal.printed
                assert not stopped or status == 0, f"{terminal.command} ends with {status}: {terminal.printed}"
                assert "Traceback" not in terminal.printed, terminal.printed
        self._open.clear()

    @property
    def surroundings(self) -> tuple[str, Path, dict[str, str]]:
        """(what is typed first, the folder, the environment) in each terminal."""
        return self._limits, self._folder, self._env


class _Terminal:
    """A bash that runs one command.

    command  as the page has it
    printed  on standard output and error, so far
    """

    def __init__(self, command: str, typed: str, terminals: Terminals) -> None:
        first, folder, env = terminals.surroundings
        self.command = command
        self._screen = folder / f"screen-{time.monotonic_ns()}"
        with self._screen.open("wb") as screen:
            self._process = subprocess.Popen(
                ["bash", "-c", first + typed],
                cwd=folder, env=env, stdin=subprocess.PIPE, stdout=screen, stderr=screen, start_new_session=True,
            )  # fmt: skip

    @property
    def printed(self) -> str:
        return self._screen.read_text(errors="replace")

    def ready(self, word: str) -> None:
        """Wait until it has printed `word`, or has ended."""
        wait_for(lambda: word in self.printed or self._process.poll() is not None, f"{self.command} to say {word!r}")

    def wait(self) -> int:
        """Wait until it ends, without anything typed into it; return its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command} has not ended after {LIMIT:g} s: {self.printed}") from None

    def close(self) -> int:
        """End it as a person would, strace by Ctrl-C, a server by TERM; return its exit status."""
        if self._process.poll() is None:
            if serves(self.command):
                self._process.terminate()
            elif self.command.startswith("strace"):
                self._process.send_signal(signal.SIGINT)
        return self.wait()

    def kill(self) -> None:
        """End it and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

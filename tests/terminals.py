"""The commands of a page, run as a reader types them: what stays, as a server does, in a terminal of its own.

A page is read by rules that leave it as it is for its readers:

- A block of language `sh` has a command a line. A block without a language that begins with `$ ` is a terminal:
  commands, and after each the lines that it prints. Any other without a language is the output of what ran before it.
- A Python block is saved as the file that the paragraph before it names (`hello.py`), and a command in that paragraph
  (`allcomers run hello.py:Hello`) runs once it is saved. Files stay for all later sections.
- `<!-- as: slow -->` before a block gives its command a name, and `<!-- run: slow, quick -->` runs it.
- A row of a table that has a server's command in one cell and a client's in another runs both.
- A server runs until the next one starts or the section ends, on a free port, which stands for 8000 and 9000.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from harness import ROOT, wait_for

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

_PIECE = re.compile(
    r"<!-- (?P<mark>from|as|run):? (?P<names>[^>]+) -->\n?|```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
_NUMBER = re.compile(r"(?P<minutes>\d+)m(?P<rest>[\d.]+)s\b|(?P<seconds>\d+\.\d+) s\b|…|\[[\d ]+\]|\s+|\d[\d.,]*")
_VARIES = re.compile(r"(?:process |call-|Thread-|pid )$")


@dataclass
class Step:
    """Commands that run one after another, and the lines that they print, if the page has some.

    later  the lines come when the section ends: of a command that stays, or of all
    """

    commands: list[str]
    expected: list[str] = field(default_factory=list)
    later: bool = False


@dataclass
class Section:
    """A heading's steps, the files of the page up to there, and the commands that have a name."""

    title: str
    files: dict[str, str]
    named: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    text: str = ""

    def missing(self) -> str:
        """The reason why this section cannot run here, or ""."""
        typed = [command for step in self.steps for command in step.commands]
        for word in ("bash", *re.findall(r"(?:^|\| |\()(curl|nc|ps|pstree|strace|pgrep)\b", "\n".join(typed), re.M)):
            if shutil.which(word) is None:
                return f"{word} is not installed"
        if any("nc -N" in command for command in typed) and not _knows_nc_n():
            return "this nc has no -N"
        if any(command.startswith("strace") for command in typed) and not _may_trace():
            return "strace may not attach to another process here"
        return ""


@cache
def _knows_nc_n() -> bool:
    told = subprocess.run(["nc", "-h"], capture_output=True, text=True, timeout=LIMIT)
    return re.search(r"-\w*N", told.stdout + told.stderr) is not None


@cache
def _may_trace() -> bool:
    """Whether strace may attach to a process that it has not started (ptrace(2), ptrace_scope)."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        tracer = subprocess.Popen(["strace", "-p", str(other.pid)], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        first = tracer.stderr.readline()
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=LIMIT)
    return "attached" in first


# ---------------------------------------------------------------- reading


def sections(page: Path) -> list[Section]:
    """The sections of a page that have something to run."""
    found: list[Section] = []
    files: dict[str, str] = {}
    named: dict[str, str] = {}
    for title, text in _headed(page.read_text(encoding="utf-8")):
        section = Section(title, {}, named, text=text)
        _read(section, files)
        section.files = dict(files)
        if section.steps:
            found.append(section)
    return found


def rows(page: Path) -> list[Section]:
    """A section for each row of a page's tables that has a server's command and, perhaps, a client's."""
    found = []
    for line in re.findall(r"^\| .+ \|$", page.read_text(encoding="utf-8"), re.M):
        typed = [command.replace(r"\|", "|") for command in re.findall(r"`([^`]+)`", line)]
        clients = [command for command in typed if command.startswith(("curl ", "printf ", "python3 "))]
        if servers := [command for command in typed if serves(command)]:
            found.append(Section(servers[0], {}, {}, [Step([command]) for command in servers + clients]))
    return found


def _headed(text: str) -> Iterator[tuple[str, str]]:
    """(heading, text) of each part; a comment of Python's in a block is no heading."""
    blanked = re.sub(r"```.*?^```$", lambda block: re.sub(r"[^\n]", "-", block[0]), text, flags=re.M | re.S)
    starts = [*re.finditer(r"^#{1,4} (.+)$", blanked, re.M)]
    for here, after in zip(starts, [*(start.start() for start in starts[1:]), len(text)], strict=True):
        yield here[1], text[here.end() : after]


def _read(section: Section, files: dict[str, str]) -> None:
    at, mark, names = 0, "", ""
    for piece in _PIECE.finditer(section.text):
        prose, at = section.text[at : piece.start()], piece.end()
        if piece["mark"]:
            mark, names = piece["mark"], piece["names"]
            if mark == "run":
                section.steps.append(Step([section.named[name] for name in names.split(", ")]))
            continue
        language, code = piece["language"], piece["code"]
        if mark == "as":
            section.named[names] = code.strip()
        elif language == "python" and mark != "from":
            section.steps += _saved(prose, code, files)
        elif language in ("sh", ""):
            _read_block(section, code, language, mark)
        mark = ""


def _saved(prose: str, code: str, files: dict[str, str]) -> list[Step]:
    """Keep a Python block as the file that its paragraph names; what that paragraph runs."""
    paragraph = prose.strip().rpartition("\n\n")[2]
    found = re.findall(r"`(\w+\.py)`", paragraph)
    if not found:
        return []
    files[found[-1]] = code
    return [Step([command]) for command in re.findall(r"`(allcomers run [^`]+)`", paragraph)]


def _read_block(section: Section, code: str, language: str, mark: str) -> None:
    if language == "sh":
        lines = [re.sub(r"(^|\s{2,})#.*", "", line) for line in code.replace("\\\n", " ").splitlines()]
        section.steps += [Step([line.strip()]) for line in lines if line.strip()]
    elif code.startswith("$ "):
        for part in re.split(r"^\$ ", code, flags=re.M)[1:]:
            command, *expected = part.splitlines()
            section.steps.append(Step([command], [line for line in expected if line.strip()], stays(command)))
    elif section.steps:
        expected = [line for line in code.splitlines() if line.strip()]
        if mark == "run":
            section.steps[-1].expected = expected
        else:
            section.steps.append(Step([], expected, later=True))


def serves(command: str) -> bool:
    return re.match(r"allcomers (serve|run) ", command) is not None


def stays(command: str) -> bool:
    """Whether it would keep its terminal."""
    return serves(command) or command.startswith(("strace ", "python3 idle.py", "exec "))


# ---------------------------------------------------------------- what is printed


def matches(expected: str, printed: str, *, measured: bool, shorter: float = 0.0) -> bool:
    """Whether a line of the page is that line, but for what differs from run to run.

    That is: spaces, `…`, numbers of more than three digits or with decimals, the numbers of processes and threads; all
    numbers where they are `measured`; and times, which may be up to one second shorter and two seconds longer.
    """
    pattern, times, at = "", list[float](), 0
    expected, printed = expected.strip(), printed.strip()
    if "per loop" in expected:
        expected, measured = re.sub(r"[mun]?sec", "…", expected), True
    for found in _NUMBER.finditer(expected):
        before = expected[at : found.start()]
        pattern, at = pattern + re.escape(before), found.end()
        if found["minutes"]:
            times.append(60 * float(found["minutes"]) + float(found["rest"]))
            pattern += r"(\d+)m([\d.]+)s"
        elif found["seconds"]:
            times.append(float(found["seconds"]))
            pattern += r"()([\d.]+) s"
        elif found[0] == "…":
            pattern += ".*"
        elif found[0].isspace():
            pattern += r"\s+"
        elif found[0].startswith("["):  # a set of descriptors
            pattern += r"\[[\d ]+\]" if measured else re.escape(found[0])
        elif measured or not found[0].isdigit() or len(found[0]) > 3 or _VARIES.search(expected[: found.start()]):
            pattern += r"\d[\d.,]*"
        else:
            pattern += found[0]
    if (same := re.fullmatch(pattern + re.escape(expected[at:]), printed)) is None:
        return False
    took = [60 * float(minutes or 0) + float(rest) for minutes, rest in zip(*[iter(same.groups())] * 2, strict=True)]
    for wanted, actual in zip(times, took, strict=True):
        if wanted > SHORTER:
            wanted -= shorter
        if not wanted - 1 < actual < wanted + 2:
            return False
    return True


# ---------------------------------------------------------------- running


class Terminals:
    """The terminals of one section, in a folder of their own. Raises AssertionError where a page promises too much."""

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
        try:
            for step in self._section.steps:
                self._step(step)
            self._close(servers=True)
            for command, expected in self._late:
                printed = [text for of, text in self._closed if command in ("", of)]
                self._compare(expected, "\n".join(printed), command)
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
        """Run it, in a terminal of its own if it stays; return what it has printed."""
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
        self._close(servers=True)
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
        """The command with the server's port and process id here."""
        traced = re.sub(r"\$\(pgrep -of 'allcomers \w+'\)", str(self._supervisor), command)
        if command.startswith("exec "):
            traced += "; echo held; read"
        elif stays(command):
            traced = f"exec {traced}"
        return self._saved(traced)

    def _saved(self, command: str) -> str:
        """Save the files, for the port that is in use now."""
        for name, code in self._section.files.items():
            (self._folder / name).write_text(self._ported(code))
        return self._ported(command)

    def _ported(self, text: str) -> str:
        return re.sub(r'(127\.0\.0\.1["]?[:/, ]+)(8000|9000)\b', rf"\g<1>{self._port}", text)

    def _close(self, *, servers: bool) -> None:
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
        """Wait until it ends by itself, without anything typed into it; its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command} has not ended after {LIMIT:g} s: {self.printed}") from None

    def close(self) -> int:
        """End it as a person would: Ctrl-C where it reads nothing, TERM for a server."""
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

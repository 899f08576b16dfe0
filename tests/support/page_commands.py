"""The commands of a page, read by rules that leave it as it is for its readers.

- A block of language `sh` has a command a line. A block without a language that begins with `$ ` is a terminal:
  commands, and after each the lines that it prints. Any other without a language is the output of what ran before it.
- A Python block is saved as the file that the paragraph before it names (`hello.py`), and a command in that paragraph
  (`allcomers run hello.py:Hello`) runs once it is saved. Files stay for all later sections.
- `<!-- as: slow -->` before a block gives its command a name, and `<!-- run: slow, quick -->` runs it.
- A row of a table that has a server's command in one cell and a client's in another runs both.
- A server runs until the next one starts or the section ends, on a free port, which stands for 8000 and 9000.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PIECE = re.compile(
    r"<!-- (?P<mark>from|as|run):? (?P<names>[^>]+) -->\n?|```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)


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
    """A heading's steps, the files of the page up to there (name: text), and the commands that have a name."""

    title: str
    files: dict[str, str]
    named: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    text: str = ""

    @property
    def commands(self) -> list[str]:
        """Everything that a reader types."""
        return [command for step in self.steps for command in step.commands]


def sections(counters: Path) -> list[Section]:
    """Return the sections of a page that have something to run."""
    found: list[Section] = []
    files: dict[str, str] = {}
    named: dict[str, str] = {}
    for title, text in _headed(counters.read_text(encoding="utf-8")):
        section = Section(title, {}, named, text=text)
        _read(section, files)
        section.files = dict(files)
        if section.steps:
            found.append(section)
    return found


def rows(counters: Path) -> list[Section]:
    """Return a section for each row of a page's tables that has a server's command and, perhaps, a client's."""
    found = []
    for line in re.findall(r"^\| .+ \|$", counters.read_text(encoding="utf-8"), re.M):
        typed = [command.replace(r"\|", "|") for command in re.findall(r"`([^`]+)`", line)]
        clients = [command for command in typed if command.startswith(("curl ", "printf ", "python3 "))]
        if servers := [command for command in typed if serves(command)]:
            found.append(Section(servers[0], {}, {}, [Step([command]) for command in servers + clients]))
    return found


def _headed(text: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, text) of each part; a comment of Python's in a block is no heading."""
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
    """Keep a Python block as the file that its paragraph names; return a step for each command of that paragraph."""
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
    """Return True if it starts a server."""
    return re.match(r"allcomers (serve|run) ", command) is not None


def stays(command: str) -> bool:
    """Return True if it keeps its terminal."""
    return serves(command) or command.startswith(("strace ", "python3 idle.py", "exec "))

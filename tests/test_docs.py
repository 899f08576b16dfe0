"""The pages: links lead somewhere, quotes from the source are still there, code and commands run, options are fresh."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest

from support.harness import ROOT
from support.page_commands import Section, rows, sections
from support.source import FILES, SOURCE, imports_of
from support.terminals import Terminals, matches, missing

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(
        page
        for folder in ("docs", "examples", "bench", "tests")
        for page in sorted((ROOT / folder).rglob("*.md"))
        if "out" not in page.parts
    ),  # where benchmarks install what they compare with
]

BLOCK = re.compile(r"(?:<!-- from (\S+) -->\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A block of code; with such a comment before it, a quote of that file, less the indentation that all its lines have.
A line `# ...` in a quote leaves lines out."""

RUN = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", ROOT / "docs" / "handlers.md"]
"""The pages whose commands are run."""

EXAMPLES = ROOT / "examples" / "README.md"
"""Here they stand in a table."""

SECTIONS = [
    pytest.param(section, id=f"{page.relative_to(ROOT)}: {section.title}")
    for page, parts in [*((page, sections(page)) for page in RUN), (EXAMPLES, rows(EXAMPLES))]
    for section in parts
]

LINK = re.compile(r"(?<!`)!?\[[^]]*\]\(([^)\s]+)\)")
LEFT_OUT = re.compile(r"^\s*# \.\.\.\n", re.MULTILINE)


def name(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else ""


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (the file that it quotes or "", the language, the code) of each block."""
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield found[1] or "", found[2], found[3]


def is_in(source: str, quote: str, depth: int) -> bool:
    """Whether all parts of `quote`, indented by `depth`, are in `source` in this order."""
    at = 0
    for part in LEFT_OUT.split(quote):
        at = source.find("\n" + indent(part, " " * depth), at)
        if at < 0:
            return False
    return True


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, by the rule that GitHub has."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_quotes_are_in_the_source(page: Path) -> None:
    for file, _, code in blocks(page):
        if not file:
            continue
        source = (ROOT / file).read_text(encoding="utf-8")
        assert any(is_in(source, code, depth) for depth in range(0, 24, 4)), f"{file} no longer has:\n{code}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python block that is no quote is a module of its own, as a reader would save it."""
    monkeypatch.chdir(ROOT)
    for file, language, code in blocks(page):
        if language == "python" and not file and "sys.argv" not in code:
            exec(compile(code, f"a block of {page.name}", "exec"), {"__name__": "block"})


@pytest.mark.parametrize("section", SECTIONS)
def test_commands_do_what_the_page_says(section: Section, tmp_path: Path) -> None:
    """page_commands.py has the rules by which a page is read, terminals.py how far a line may differ."""
    if reason := missing(section):
        pytest.skip(reason)
    Terminals(section, tmp_path).run()


@pytest.mark.parametrize(
    ("expected", "printed", "is_same"),
    [
        ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK", True),
        ("VALUE 1", "VALUE 2", False),
        ("process 559, thread call-1", "process 12, thread call-0", True),
        ("process 559, thread call-1", "process 12, thread MainThread", False),
        ("    PID NLWP", "  PID NLWP", True),
        ("real    0m4.044s", "real\t0m4.901s", True),
        ("real    0m4.044s", "real\t0m1.051s", False),
        ("real    0m1.044s", "real\t0m4.051s", False),
        ("200 in 12.013925 s", "200 in 3.02 s", True),
        ("200 in 12.013925 s", "200 in 6.5 s", False),
        ("accept4(3, …) = 13", "accept4(3, 0x7f, 16) = 9", False),
    ],
)
def test_what_may_differ_from_a_page(expected: str, printed: str, is_same: bool) -> None:
    assert matches(expected, printed, measured=False, shorter=9) is is_same


def test_the_page_of_the_design_names_files_that_exist() -> None:
    page = prose(ROOT / "docs" / "design.md")
    files = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:pyx?|toml))`|`((?:[\w.-]+/)+)`", page))
    names = {one or two for one, two in files}
    assert len(names) > 60
    found = [*ROOT.glob("*"), *(path for top in ("src", "tests", "bench", "tools") for path in (ROOT / top).rglob("*"))]
    paths = {f"/{path.relative_to(ROOT)}{'/' * path.is_dir()}" for path in found}
    assert [name for name in sorted(names) if not any(path.endswith(f"/{name}") for path in paths)] == []


def test_the_picture_of_the_folders_has_those_of_the_source() -> None:
    picture = (ROOT / "docs" / "images" / "design" / "folders.svg").read_text(encoding="utf-8")
    floors = [name.removesuffix(".py").rstrip("/") for name in re.findall(r'"name"[^>]*>([^<]+)<', picture)]
    height = {name: -number for number, name in enumerate(floors)}
    modules = [name for name in FILES if name not in ("allcomers", "__main__")]
    assert {name.partition(".")[0] for name in modules} == set(floors)
    back = [
        f"{name} imports {other}"
        for name in modules
        for other in imports_of(name)[0] - {"allcomers"}
        if height[other.partition(".")[0]] > height[name.partition(".")[0]]
    ]
    assert not back
    folders = {name.rstrip("/") for name in re.findall(r'"code mid"[^>]*>([^<]+)<', picture)}
    assert folders == {path.parent.name for path in SOURCE.glob("*/*/__init__.py")}


def test_both_readmes_have_the_same_code_and_links() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"
    code = [[block for _, language, block in blocks(page) if language == "python"] for page in (english, chinese)]
    assert code[0] == code[1]
    typed = [[step.commands for part in sections(page) for step in part.steps] for page in (english, chinese)]
    assert typed[0] == typed[1]
    links = [set(LINK.findall(prose(page))) for page in (english, chinese)]
    assert links[0] ^ links[1] == {"README.md", "README.zh-CN.md"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_one_kind_of_picture(page: Path) -> None:
    """Pictures are files of ours: a page that is shown sends no request to another host."""
    assert not re.search(r"!\[[^]]*\]\((?:https?:)?//|<img[^>]+src=.https?:", prose(page))


def test_the_options_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "options-doc", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_of_options_has_every_command_and_signal() -> None:
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    shown = subprocess.run([sys.executable, "-m", "allcomers", "--help"], capture_output=True, text=True, check=True)
    commands = set(
        re.findall(r"^  ([a-z]+) ", shown.stdout.partition("commands:")[2].partition("\n\n")[0], re.MULTILINE)
    )
    assert {"serve", "run", "top"} <= commands
    assert set(re.findall(r"^allcomers ([a-z]+)", page, re.MULTILINE)) == commands
    obeyed = {
        signal
        for file in (SOURCE / "server" / "supervisor").glob("*.py")
        for signal in re.findall(r"\.on\(signal\.SIG(\w+)", file.read_text(encoding="utf-8"))
    }
    assert {"TERM", "USR2"} <= obeyed
    table = page.partition("## Signals")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([A-Z].*?) \|", table, re.MULTILINE)
    assert set(re.findall(r"\b[A-Z]{3,}[12]?\b", " ".join(cells))) == obeyed - {"CHLD"}

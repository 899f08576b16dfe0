"""The lists of `make frameworks` and `python -m bench applications` agree with their files.

The suites and the applications themselves are run by those commands, in environments of their own.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from bench.applications.points import POINTS
from bench.applications.table import APPLICATIONS, APPS, HERE, Application
from bench.support import pages
from tests.frameworks import suites
from tests.frameworks.plugins.matching import means, reason

PLUGINS = Path(suites.__file__).parent / "plugins"


@pytest.mark.parametrize(
    ("entry", "nodeid", "right"),
    [
        ("tests/test_a.py", "tests/test_a.py::test_one", True),
        ("tests/test_a.py", "tests/test_ab.py::test_one", False),
        ("tests/folder", "tests/folder/test_a.py::test_one[x]", True),
        ("tests/test_a.py::test_one", "tests/test_a.py::test_one[x-y]", True),
        ("tests/test_a.py::test_one", "tests/test_a.py::test_one_more", False),
        ("tests/test_a.py::test_one[x-y]", "tests/test_a.py::test_one[x-y]", True),
        ("tests/test_a.py::test_one[x]", "tests/test_a.py::test_one[x-y]", False),
        ("tests/test_a.py::Case", "tests/test_a.py::Case::test_one", True),
        ("param:trio", "tests/test_a.py::test_one[trio-x]", True),
        ("param:trio", "tests/test_a.py::test_trio[asyncio]", False),
    ],
)
def test_an_entry_means_a_test(entry: str, nodeid: str, right: bool) -> None:
    assert means(entry, nodeid) is right


def test_the_first_reason_counts() -> None:
    entries = [("tests/test_a.py::test_one", "this"), ("tests/test_a.py", "that")]
    assert reason(entries, "tests/test_a.py::test_one") == "this"
    assert reason(entries, "tests/test_a.py::test_two") == "that"
    assert reason(entries, "tests/test_b.py::test_two") == ""


@pytest.mark.parametrize("suite", suites.SUITES, ids=lambda suite: suite.name)
def test_each_suite_has_its_lists(suite: suites.Suite) -> None:
    found = suites.lists()
    entries = [test for test, _ in found.left_out[suite.name]]
    assert entries, "every suite has something that no wire carries"
    assert len(entries) == len(set(entries)), "an entry is there twice"
    for test, why in found.left_out[suite.name] + found.known[suite.name]:
        assert why
        assert test.startswith(("tests/", "param:")), test
    for test, _ in found.known[suite.name]:
        assert not reason(found.left_out[suite.name], test), f"{test} is left out, and cannot fail"
    assert (PLUGINS / f"{suite.plugin}.py").is_file()


@pytest.mark.parametrize("app", APPLICATIONS, ids=lambda app: app.name)
def test_each_application_is_there_and_has_checks(app: Application) -> None:
    assert 'VERSION = "one"' in (APPS / app.edited).read_text(encoding="utf-8")
    assert (APPS / (app.target.partition(":")[0].replace(".", "/") + ".py")).is_file()
    tree = ast.parse((HERE / "clients" / f"{app.name}_checks.py").read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.FunctionDef) and node.name.startswith("check_") for node in tree.body)


def test_each_point_has_its_app() -> None:
    for point in POINTS:
        assert (APPS / point.app.edited).is_file(), point.title


def test_a_table_is_written_into_its_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin one -->\nold\n<!-- end one -->\nafter\n", encoding="utf-8")
    pages.write("one", "| new |", page)
    assert page.read_text(encoding="utf-8") == ("before\n<!-- begin one -->\n\n| new |\n\n<!-- end one -->\nafter\n")
    with pytest.raises(ValueError, match="no place for two"):
        pages.write("two", "| new |", page)


def test_the_page_has_a_place_for_each_table() -> None:
    text = pages.PAGE.read_text(encoding="utf-8")
    for name in ("suites", "applications", "points"):
        assert f"<!-- begin {name} -->" in text
        assert f"<!-- end {name} -->" in text

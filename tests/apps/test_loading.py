"""Targets: their forms, the app of a module's name alone, and the messages of those that fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allcomers.apps import loading as targets
from allcomers.apps.loading import Target, TargetCall, load, parse
from allcomers.errors import AppError, ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a current folder; modules imported from it are removed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(name: str, code: str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)


def failing(target: str) -> AppError:
    with pytest.raises(AppError) as caught:
        load(target)
    return caught.value


# ------------------------------------------------------------ forms


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("app:app", Target("app", ["app"], None)),
        ("a.b.c:d.e", Target("a.b.c", ["d", "e"], None)),
        ("path/to/app.py:app", Target("path/to/app.py", ["app"], None)),
        ("c:/app.py:app", Target("c:/app.py", ["app"], None)),
        ("app", Target("app", [], None)),
        ("a.b", Target("a.b", [], None)),
        ("./app.py", Target("./app.py", [], None)),
        ("a:b.py", Target("a", ["b", "py"], None)),
        ("app:make()", Target("app", ["make"], TargetCall([], {}))),
        ("app.py:M.make('a', 5, debug=True)", Target("app.py", ["M", "make"], TargetCall(["a", 5], {"debug": True}))),
        ("app:make([1, {'a': None}], x=-1.5)", Target("app", ["make"], TargetCall([[1, {"a": None}]], {"x": -1.5}))),
    ],
)  # fmt: skip
def test_a_target_taken_apart(text: str, parsed: Target) -> None:
    assert parse(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "", ":", ":app", "app:", "app:1", "app:a-b", "app:make(", "app:make(x)", "app:make(f())", "app:make(*[1])",
        "app:make(**{})", "app:make()()", "app:make().app", "app:make(1, 1 + 1, __import__('os'))", "path/app:app",
        "./app", "my-app:app", ".app:app", "app.:app", "app.py:", "app:(1)", "app:lambda: 0",
    ],
)  # fmt: skip
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value).startswith(
        f"TARGET {text!r} is not MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE, as in app.py:Hello: "
    )


# ------------------------------------------------------------ where it is


def test_a_module_a_file_and_a_file_in_a_package() -> None:
    write("one.py", "app = 'one'")
    write("site/project/__init__.py", "")
    write("site/project/settings.py", "value = 'settings'")
    write(
        "site/project/wsgi.py",
        "from project.settings import value\nfrom . import settings\napplication = value, __name__",
    )
    assert load("one:app") == load("one.py:app") == load("./one.py:app") == "one"
    assert load("site/project/wsgi.py:application") == ("settings", "project.wsgi")
    assert load("site/project/__init__.py:__name__") == "project"


def test_a_file_of_its_own_is_a_module_that_can_be_imported() -> None:
    write("folder/helper.py", "value = 5")
    write("folder/main.py", "import sys, helper\napp = helper.value, sys.modules[__name__].__file__")
    assert (
        load("folder/main.py:app") == (5, str(Path("folder/main.py").resolve())) or load("folder/main.py:app")[0] == 5
    )


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:app", "there is no module 'nowhere' here (in "),
        ("nowhere.deep:app", "there is no module 'nowhere' here (in "),
        ("one.deep:app", "there is no module 'one.deep' here (in "),
        ("oen:app", "; did you mean one?"),
        ("packge:app", "; did you mean package?"),
        ("nowhere.py:app", "there is no file 'nowhere.py'"),
        ("package:app", "package has no 'app'; it has: nothing"),
        ("one:ap", "one has no 'ap'; did you mean app?"),
        ("one:app.uper", "one has no 'app.uper'; did you mean upper"),
        ("one:zzz", "one has no 'zzz'; it has: Maker, app, make, number"),
        ("many:zzz", "name_0, name_1, "),
        ("one:number()", "one has number, but it cannot be called: leave the brackets out"),
        ("one:make()", "make of one does not take these arguments: missing a required argument: 'kind'"),
        ("one:make('a', kind='a')", "make of one does not take these arguments: multiple values for argument 'kind'"),
        ("one:make(other=1)", "make of one does not take these arguments: "),
    ],
)
def test_what_cannot_be_had(target: str, says: str) -> None:
    write("one.py", "app = 'one'\nnumber = 5\ndef make(kind): return kind\nclass Maker: pass\n_private = 1")
    write("package/__init__.py", "")
    write("many.py", "\n".join(f"name_{number} = 1" for number in range(100)))
    error = failing(target)
    assert says in str(error)
    assert not error.traceback
    assert len(str(error)) < 500


# ------------------------------------------------------------ what it names


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("app = 'app'", "app"),
        ("application = 'application'", "application"),
        ("app = 'app'\napplication = 'application'", "application"),
        ("import json as application\napp = 'app'", "app"),
        ("application = None\napp = 'app'", "app"),
    ],
)
def test_a_module_alone_stands_for_its_app(code: str, found: str, caplog: pytest.LogCaptureFixture) -> None:
    write("main.py", code)
    with caplog.at_level("DEBUG", "allcomers.app"):
        assert load("main") == found
        assert load("main.py") == found
    assert caplog.messages == [f"{name} names nothing in it: its {found} is used" for name in ("main", "main.py")]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("Hello = 1", "main has neither application nor app: say main:NAME; it has: Hello"),
        ("def create_app(): pass", "main has neither application nor app: say main:create_app(); it has: create_app"),
        ("", "main has neither application nor app: say main:NAME; it has: nothing"),
    ],
)
def test_a_module_without_an_app(code: str, says: str) -> None:
    write("main.py", code)
    assert str(failing("main")) == says


def test_a_target_that_is_called() -> None:
    write("main.py", "class Maker:\n    @classmethod\n    def make(cls, *a, **k): return a, k\nmake = Maker.make")
    assert load("main:make()") == ((), {})
    assert load("main:Maker.make('a:b', [1, None], x=-1.5)") == (("a:b", [1, None]), {"x": -1.5})


def test_nothing_but_literals_is_evaluated() -> None:
    for arguments in ("open('made', 'w')", "[x for x in 'a']", "f'{1}'", "1 if 1 else 2", "name"):
        with pytest.raises(ConfigError):
            parse(f"main:make({arguments})")
    assert not Path("made").exists()


# ------------------------------------------------------------ what fails on the way


@pytest.mark.parametrize(
    ("code", "target", "says", "trace"),
    [
        ("import nowhere", "main:app", "importing main failed: ModuleNotFoundError: No module named 'now", "import "),
        ("import main.nowhere", "main:app", "importing main failed: ModuleNotFoundError: ", "import main.nowhere"),
        ("raise KeyboardInterrupt", "main:app", "importing main failed: KeyboardInterrupt (what only a ", "raise Key"),
        ("import sys; sys.exit('bye')", "main.py:a", "importing main.py failed: SystemExit: bye (what ", "sys.exit"),
        ("def f(:\n", "main:app", "importing main failed: SyntaxError", "def f(:"),
        ("def make(): len(5)", "main:make()", "calling make of main failed: TypeError: object of type 'int'", "len(5)"),
        ("def make(a): raise OSError('full')", "main:make(1)", "calling make of main failed: OSError: full", "OS"),
        ("def make(): raise SystemExit(3)", "main:make()", "calling make of main failed: SystemExit: 3 (wh", "System"),
    ],
)  # fmt: skip
def test_the_app_fails_while_it_is_loaded(code: str, target: str, says: str, trace: str) -> None:
    write("main.py", code)
    error = failing(target)
    assert str(error).startswith(says)
    assert trace in error.traceback
    assert str(Path(targets.__file__).parent) not in error.traceback


def test_an_attribute_that_raises() -> None:
    write("main.py", "def __getattr__(name): raise ValueError(name)")
    assert str(failing("main:App")) == "getting App of main failed: ValueError: App"


def test_modules_are_imported_once() -> None:
    write("main.py", "import itertools\ncount = itertools.count()\ndef app(): return next(count)")
    first: Any = load("main:app")
    first()
    assert load("main:app()") == 1

"""What tests share: throw-away certificates, and plain words where an assertion in a helper fails."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from hypothesis import HealthCheck, settings

from allcomers.models import TABLE
from support import chromium
from support.certificates import Certificate, LockedSocket

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from support.staged import App

pytest.register_assert_rewrite(
    *(
        f"support.{name}"
        for name in ("clients", "conformance", "wires", "harness", "offline", "staged", "streams", "terminals")
    )
)

HERE = Path(__file__).parent

TOOLS = [
    HERE / name
    for name in (
        *("commands/lab", "commands/load", "commands/test_doctor.py", "commands/test_doctor_rules.py"),
        *("commands/test_top.py", "config/test_migration.py", "server/admin/test_dashboard.py", "test_bench.py"),
        *("test_browser.py", "test_docs.py", "test_examples.py", "test_layers.py"),
    )
]
"""Tests of what stands beside the server: commands that ask it, pages, the shape of the source."""

FEW = {"epoll", "asyncio", "thread", "process"}
"""A loop of ours, asyncio's, a thread for each peer, a process for each. The other models run the same code, but with
another poller, or fewer threads."""

FEWEST = ("epoll", "asyncio", "")
"""The models of which --once keeps a form of each test; "" is a test that names none."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server", action="store_true", help="only what concerns the server, under the models that differ most"
    )
    parser.addoption("--once", action="store_true", help="one form of each test, and one of each event loop")
    parser.addoption(
        "--in-turn", action="store_true", help="a test of all models under those that differ most, and one more in turn"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --server: nothing of TOOLS."""
    if not config.getoption("--server"):
        return None
    assert all(path.exists() for path in TOOLS), "conftest.TOOLS names what is not there any more"
    return True if collection_path in TOOLS else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --server: the tests of FEW, and one form of each test that has none of them; with --once fewer."""
    kept = _in_turn(items) if config.getoption("--in-turn") else list(items)
    if config.getoption("--server"):
        kept = _with_one_each(items, [item for item in items if _models(item) <= FEW])
    if config.getoption("--once"):
        firsts = {(_function(item), " ".join(_models(item))): item for item in reversed(kept)}
        kept = _with_one_each(kept, [item for (_, model), item in firsts.items() if model in FEWEST])
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def _in_turn(items: list[pytest.Item]) -> list[pytest.Item]:
    """`items`, but a test that has a form for most models runs under FEW and one of the others: the next of them each
    time, so that each model meets its part of the tests."""
    forms: dict[str, list[tuple[pytest.Item, set[str]]]] = {}
    for item in items:
        forms.setdefault(_function(item), []).append((item, _models(item)))
    left_out: set[pytest.Item] = set()
    turn = 0
    for form in forms.values():
        models = set().union(*(models for _, models in form))
        others = sorted(models - FEW)
        if not models >= FEW or len(others) < 4:
            continue
        turn += 1
        these = FEW | {others[turn % len(others)]}
        left_out.update(item for item, models in form if not models <= these)
    return [item for item in items if item not in left_out]


def _with_one_each(items: list[pytest.Item], kept: list[pytest.Item]) -> list[pytest.Item]:
    """`kept`, and one form of each test of `items` that has none there."""
    there = {_function(item) for item in kept}
    firsts = {_function(item): item for item in reversed(items)}
    return kept + [item for function, item in firsts.items() if function not in there]


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _models(item: pytest.Item) -> set[str]:
    """Those that its parameters name."""
    found: set[str] = set()
    for value in item.callspec.params.values() if hasattr(item, "callspec") else ():
        words = value.split() if isinstance(value, str) else value if isinstance(value, tuple) else ()
        found.update(word for word in (*words, getattr(value, "model", "")) if isinstance(word, str))
    return found & TABLE.keys()


# The same examples in each run: a test that fails here fails there. No deadline: a busy machine is no failure.
settings.register_profile(
    "deterministic", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("deterministic")


@pytest.fixture
def app(tmp_path: Path) -> App:
    """An app in a file that can change, in the folder `tmp_path`."""
    from support import staged  # late, so that its assertions are rewritten

    return staged.App(tmp_path)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that sets the time zone, by POSIX rules, so that no zone file is needed."""

    def choose(rule: str) -> None:
        monkeypatch.setenv("TZ", rule)
        time.tzset()

    yield choose
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="module", params=["compiled", "plain Python"])
def both_builds(request: pytest.FixtureRequest) -> Iterator[None]:
    """The tests of a module run twice: with the compiled leaf, and without it."""
    from allcomers.protocol import compiled

    if request.param == "compiled" and not compiled.COMPILED:
        pytest.skip("the leaf is not compiled, or ALLCOMERS_PURE is set")
    before, compiled.COMPILED = compiled.COMPILED, request.param == "compiled"
    yield
    compiled.COMPILED = before


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    authority = trustme.CA()
    pem = tmp_path_factory.mktemp("certificate") / "server.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    trusted, for_threads = ssl.create_default_context(), ssl.create_default_context()
    for context in (trusted, for_threads):
        authority.configure_trust(context)
    for_threads.sslsocket_class = LockedSocket
    return Certificate(pem, trusted, for_threads)


REAL = Path(__file__).parent / "support" / "real"
"""Apps of real frameworks."""


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the board: a database with its tables, and an administrator."""
    folder = tmp_path_factory.mktemp("board")
    env = {
        "REAL_DATABASE": str(folder / "board.sqlite3"),
        "DJANGO_SETTINGS_MODULE": "board.settings",
        "DJANGO_SUPERUSER_PASSWORD": "secret",
        "PYTHONPATH": str(REAL),
        "TMPDIR": str(folder),
    }
    for command in (
        ["migrate", "--run-syncdb", "--verbosity", "0"],
        ["createsuperuser", "--noinput", "--username", "admin", "--email", "admin@example.org", "--verbosity", "0"],
    ):
        subprocess.run([sys.executable, "-m", "django", *command], env={**os.environ, **env}, check=True, timeout=60)
    return env


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # late: few tests want it

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium.CHROMIUM, args=chromium.ARGUMENTS)
        yield launched
        launched.close()

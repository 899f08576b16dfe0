"""What tests share: throw-away certificates, and plain words where an assertion in a helper fails."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from hypothesis import settings

import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from staged import App

pytest.register_assert_rewrite("clients", "conformance", "harness", "offline", "staged", "streams", "terminals")

# The same examples in each run: a test that fails here fails there. No deadline: a busy machine is no failure.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


@dataclass(frozen=True)
class Certificate:
    """The server's certificate for localhost and 127.0.0.1.

    pem      a file with its chain and its key
    trusted  a client's context that trusts it
    """

    pem: Path

    trusted: ssl.SSLContext


@pytest.fixture
def app(tmp_path: Path) -> App:
    """An app in a file that can change, in the folder `tmp_path`."""
    import staged  # late, so that its assertions are rewritten

    return staged.App(tmp_path)


@pytest.fixture(scope="module", params=["compiled", "plain Python"])
def both_builds(request: pytest.FixtureRequest) -> Iterator[None]:
    """The tests of a module run twice: with the compiled leaf, and without it."""
    from allcomers.protocol import leaf

    if request.param == "compiled" and not leaf.COMPILED:
        pytest.skip("the leaf is not compiled, or ALLCOMERS_PURE is set")
    before, leaf.COMPILED = leaf.COMPILED, request.param == "compiled"
    yield
    leaf.COMPILED = before


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    authority = trustme.CA()
    pem = tmp_path_factory.mktemp("certificate") / "server.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    return Certificate(pem, trusted)


REAL = Path(__file__).parent / "real"
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

"""What tests share: throw-away certificates, and plain words where an assertion in a helper fails."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from hypothesis import settings

pytest.register_assert_rewrite("clients", "conformance", "harness", "offline", "streams")

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

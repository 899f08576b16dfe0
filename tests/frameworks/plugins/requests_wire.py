"""httpbin, which requests' tests use, served by `allcomers run` instead of pytest-httpbin's server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
import wire
from process import Process


class Httpbin(Process):
    """The part of pytest-httpbin's server that requests' conftest uses: `url`."""


@pytest.fixture(scope="session")
def _plain() -> Iterator[Httpbin]:
    server = Httpbin("httpbin:app")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def _secure(_authority: trustme.CA) -> Iterator[Httpbin]:
    pem = Path(tempfile.mkdtemp(prefix="wire-")) / "server.pem"
    _authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    server = Httpbin("httpbin:app", "--certfile", str(pem))
    yield server
    server.stop()


@pytest.fixture
def httpbin(_plain: Httpbin) -> Httpbin:
    wire.contacts += 1
    return _plain


@pytest.fixture
def httpbin_secure(_secure: Httpbin) -> Httpbin:
    wire.contacts += 1
    return _secure


@pytest.fixture(scope="session")
def httpbin_ca_bundle(_authority: trustme.CA) -> Iterator[str]:
    with _authority.cert_pem.tempfile() as path:
        yield path

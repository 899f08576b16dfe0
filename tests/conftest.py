"""What tests share: throw-away certificates, and plain words where an assertion in a helper fails."""

from __future__ import annotations

import ssl
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

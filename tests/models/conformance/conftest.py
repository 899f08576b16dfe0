"""One suite for every model, plain and TLS, inline and pool, 1 and 2 workers: real servers, real sockets, every byte.

pytest tests/models/conformance                            each model once, each of the other choices with several
make conformance                                           the whole product
ALLCOMERS_WHOLE=1 pytest tests/models/conformance -k epoll-tls-pool-2   one of it
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from allcomers.models import TABLE
from support.apps.served import pattern
from support.certificates import Certificate
from support.conformance import COMBINATIONS, LARGE, Combination, Stage

HAS_GEVENT = not TABLE["gevent"].obstacle

SOME = [
    Combination("iterative", tls=False, calls="inline", workers=1),
    Combination("process", tls=True, calls="inline", workers=2),
    Combination("thread", tls=False, calls="pool", workers=2),
    Combination("thread-pool", tls=True, calls="pool", workers=1),
    Combination("select", tls=True, calls="auto", workers=1),
    Combination("poll", tls=False, calls="pool", workers=1),
    Combination("epoll", tls=False, calls="auto", workers=1),
    Combination("epoll-et", tls=True, calls="inline", workers=2),
    Combination("asyncio", tls=True, calls="auto", workers=2),
    *(Combination("gevent", tls=tls, calls="inline", workers=1 + tls) for tls in (False, True) if HAS_GEVENT),
]

CHOSEN = COMBINATIONS if os.environ.get("ALLCOMERS_WHOLE") else SOME


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    which = getattr(metafunc.function, "only", lambda _: True)
    found = [combination for combination in CHOSEN if which(combination)]
    metafunc.parametrize("stage", found, ids=map(str, found), indirect=True, scope="package")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "large.bin").write_bytes(pattern(LARGE))
    return folder


@pytest.fixture(scope="package")
def stage(request: pytest.FixtureRequest, certificate: Certificate, files: Path) -> Iterator[Stage]:
    stage = Stage(request.param, certificate, files)
    yield stage
    stage.stop()


@pytest.fixture(autouse=True)
def _calm(stage: Stage) -> Iterator[None]:
    """After each test, its servers are as before; one that is not is no server for the next test."""
    yield
    try:
        for server in stage.servers.values():
            server.comes_home()
    except BaseException:
        stage.stop()
        raise

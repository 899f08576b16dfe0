"""The suites that are run, and the sdists that have them. Nothing of theirs is kept in this repository."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent


class Suite(NamedTuple):
    """The tests of a project.

    name      as in left_out.toml
    sdist     the release on PyPI that has them
    needs     packages that they import
    plugin    the module of plugins/ that replaces their server or client
    options   of pytest
    paths     the files to run, below the sdist's folder
    quick     the part for CI
    """

    name: str
    sdist: str
    needs: tuple[str, ...]
    plugin: str
    options: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("tests",)
    quick: tuple[str, ...] = ()


_HTTPBIN = ("httpbin==0.10.4", "flask==3.1.3", "werkzeug==3.1.9")

SUITES = (
    Suite(
        "starlette",
        "starlette==1.10.0",
        (
            *("httpx==0.28.1", "httpx2[zstd]", "itsdangerous", "jinja2", "opentelemetry-sdk", "python-multipart"),
            *("pyyaml", "trio", "wsproto"),
        ),
        "starlette_wire",
        quick=(
            "tests/test_applications.py",
            "tests/test_endpoints.py",
            "tests/test_responses.py",
            "tests/test_routing.py",
            "tests/test_staticfiles.py",
            "tests/test_websockets.py",
            "tests/middleware",
        ),
    ),
    Suite(
        "uvicorn",
        "uvicorn==0.54.0",
        (
            *("httptools", "websockets==17.4", "wsproto", "httpx2", "a2wsgi", "cryptography", "pytest-mock", "anyio"),
            "pyyaml",
        ),
        "uvicorn_wire",
        options=("--ignore=tests/benchmarks",),  # need a plugin to be collected at all
        quick=("tests/protocols/test_websocket.py", "tests/apps/asgi/test_lifespan.py", "tests/test_ssl.py"),
    ),
    Suite(
        "httpx",
        "httpx==0.28.1",
        (
            *("uvicorn==0.54.0", "cryptography", "chardet", "click", "rich", "pygments", "h2", "socksio", "trio"),
            *("anyio", "brotli", "zstandard"),
        ),
        "httpx_wire",
    ),
    Suite(
        "requests",
        "requests==2.34.2",
        (*_HTTPBIN, "pysocks", "pytest-httpbin==2.1.0"),
        "requests_wire",
    ),
    Suite("httpbin", "httpbin==0.10.4", _HTTPBIN, "werkzeug_wire"),
    Suite(
        "flask",
        "flask==3.1.3",
        ("werkzeug==3.1.9", "asgiref", "python-dotenv", "blinker"),
        "werkzeug_wire",
        quick=("tests/test_basic.py", "tests/test_helpers.py", "tests/test_views.py"),
    ),
)


class Lists(NamedTuple):
    """The content of left_out.toml, by suite: (test, reason). `no_suite`: (project, version, reason)."""

    left_out: dict[str, list[tuple[str, str]]]
    known: dict[str, list[tuple[str, str]]]
    no_suite: list[tuple[str, str, str]]


def lists() -> Lists:
    data: dict[str, list[Any]] = tomllib.loads((HERE / "left_out.toml").read_text(encoding="utf-8"))

    def by_suite(kind: str) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {suite.name: [] for suite in SUITES}
        for entry in data.get(kind, []):
            found[entry["suite"]] += [(test, entry["reason"]) for test in entry["tests"]]
        return found

    return Lists(
        by_suite("left_out"),
        by_suite("known_failure"),
        [(entry["suite"], entry["version"], entry["reason"]) for entry in data.get("no_suite", [])],
    )

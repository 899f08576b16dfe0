"""HTTP/2 as the clients of others speak it: curl, nghttp, h2load, httpx, grpcio, Chromium."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import chromium
from support.apps.served import pattern
from support.certificates import Certificate
from support.harness import ROOT, Server, serving

APP = ("run", "tests/support/apps/served.py:app", "--access-log", "off", "--http", "auto")


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(tool), reason=f"there is no {tool} here")


@pytest.fixture(scope="module")
def clear() -> Iterator[Server]:
    with serving(*APP) as server:
        yield server


@pytest.fixture(scope="module")
def encrypted(certificate: Certificate) -> Iterator[Server]:
    with serving(*APP, "--certfile", str(certificate.pem)) as server:
        yield server


def url(server: Server, path: str, scheme: str = "http") -> str:
    return f"{scheme}://{server.address[0]}:{server.address[1]}{path}"


def run(*command: str, **keywords: Any) -> bytes:
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, cwd=ROOT, **keywords)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


# ---------------------------------------------------------------- curl


def curl(server: Server, path: str, *options: str) -> tuple[str, bytes]:
    """The head of the last response, in lower case, and the body."""
    base = ("curl", "-sS", "-i", "--http2-prior-knowledge", *options, url(server, path))
    head, _, body = run(*base).partition(b"\r\n\r\n")
    return head.decode("latin-1").lower(), body


@needs("curl")
def test_curl_gets_and_asks_for_heads_and_ranges(clear: Server, encrypted: Server) -> None:
    head, body = curl(clear, "/bytes?n=100000")
    assert head.startswith("http/2 200")
    assert body == pattern(100_000)
    head, body = curl(clear, "/bytes?n=100000", "--head")
    assert head.startswith("http/2 200")
    assert "content-length: 100000" in head
    assert body == b""
    head, body = curl(clear, "/files/index.html", "-r", "10-19")
    whole = (ROOT / "examples/site/index.html").read_bytes()
    assert head.startswith("http/2 206")
    assert f"content-range: bytes 10-19/{len(whole)}" in head
    assert body == whole[10:20]
    version = run(
        "curl", "-sS", "-k", "--http2", "-o", "/dev/null", "-w", "%{http_version}", url(encrypted, "/", "https")
    )
    assert version == b"2"


@needs("curl")
def test_curl_uploads(clear: Server, tmp_path: Path) -> None:
    body = pattern(3_000_000)
    (tmp_path / "body").write_bytes(body)
    expected = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "trailers": {}}
    for source in ([f"@{tmp_path / 'body'}"], [f"@{tmp_path / 'body'}", "-H", "Expect: 100-continue"]):
        head, found = curl(clear, "/digest", "--data-binary", *source)
        assert json.loads(found.rpartition(b"\r\n\r\n")[2]) == expected, head
    with (tmp_path / "body").open("rb") as file:  # of no length that is known
        base = ("curl", "-sS", "--http2-prior-knowledge", "-X", "POST", "-T", "-", url(clear, "/digest"))
        assert json.loads(run(*base, stdin=file)) == expected


# ---------------------------------------------------------------- nghttp2's


@needs("nghttp")
def test_nghttp_asks_for_many_with_priorities(clear: Server) -> None:
    paths = [url(clear, f"/bytes?n={n}") for n in range(10, 90)]
    body = run("nghttp", "-m", "2", "-p", "8", "-H", "priority: u=1, i", *paths)
    assert sorted(body) == sorted(b"".join(pattern(n) for n in range(10, 90)) * 2)


@needs("nghttp")
def test_nghttp_sends_trailers_and_continuations_and_waits_to_be_asked(clear: Server, tmp_path: Path) -> None:
    body = pattern(200_000)
    (tmp_path / "body").write_bytes(body)
    options = ("--trailer", "x-digest: 17", "--expect-continue", "--continuation", "--padding=20")
    said = run("nghttp", "-v", "-d", str(tmp_path / "body"), *options, url(clear, "/digest")).decode("latin-1")
    (found,) = re.findall(r'\{"size".*?\}\}', said)
    digest = hashlib.sha256(body).hexdigest()
    assert json.loads(found) == {"size": len(body), "sha256": digest, "trailers": {"x-digest": "17"}}
    assert ":status: 100" in said
    said = run("nghttp", "-v", "-n", "-H", "te: trailers", url(clear, "/trailers?n=100")).decode("latin-1")
    assert f"x-digest: {hashlib.sha256(pattern(100)).hexdigest()}" in said


@needs("h2load")
@pytest.mark.parametrize("calls", ["auto", "pool"])
def test_h2load_has_all_its_requests_answered(calls: str) -> None:
    with serving(*APP, "--calls", calls) as server:
        said = run("h2load", "-n", "10000", "-c", "20", "-m", "50", url(server, "/bytes?n=300")).decode()
    assert "10000 total, 10000 started, 10000 done, 10000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "status codes: 10000 2xx" in said
    assert f"({10_000 * 300}) data" in said


# ---------------------------------------------------------------- from Python


def test_httpx_does_all_at_once_on_one_connection(encrypted: Server, certificate: Certificate) -> None:
    with httpx.Client(http2=True, http1=False, verify=certificate.trusted, timeout=40) as client:
        for n in (0, 1, 70_000, 1_000_000):
            answer = client.get(url(encrypted, f"/bytes?n={n}", "https"))
            assert (answer.http_version, answer.content) == ("HTTP/2", pattern(n))
        answer = client.post(url(encrypted, "/echo", "https"), content=pattern(300_000))
        assert answer.content == pattern(300_000)
        seen = client.get(url(encrypted, "/seen?a=1", "https")).json()
        assert (seen["version"], seen["scheme"], seen["query"]) == ("2", "https", "a=1")


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
def test_grpc_calls_in_all_four_ways(model: str) -> None:
    with serving("run", "examples/grpc_asgi.py:app", "--model", model, "--http", "auto") as server:
        said = run(sys.executable, "examples/grpc_client.py", f"127.0.0.1:{server.address[1]}").decode()
    assert said.splitlines() == [
        "Hello, Ada!",
        "0 1 2 3 4",
        "many become one",
        "EACH",
        "IN",
        "TURN",
        "UNIMPLEMENTED there is no such method",
        "INVALID_ARGUMENT count to what?",
    ]


# ---------------------------------------------------------------- Chromium


PARTS = 50

PROTOCOLS = """() => performance.getEntries()
  .filter((entry) => ["navigation", "resource"].includes(entry.entryType))
  .map((entry) => entry.nextHopProtocol)"""


@pytest.mark.browser
@chromium.NEEDED[1]
def test_a_browser_has_a_page_of_many_parts(browser: Any, certificate: Certificate, tmp_path: Path) -> None:
    scripts = "".join(f'<script src="{n}.js"></script>' for n in range(PARTS))
    icon = '<link rel="icon" href="data:,">'
    (tmp_path / "index.html").write_text(f"<!doctype html>{icon}<script>var sum = 0</script>{scripts}")
    for n in range(PARTS):
        (tmp_path / f"{n}.js").write_text(f"sum += {n};" + "/" * 30 * n * n)
    options = ("--certfile", str(certificate.pem), "--access-log", "off", "--http", "auto")
    with serving("serve", str(tmp_path), *options) as server:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(url(server, "/", "https"), wait_until="load")
        assert page.evaluate("sum") == sum(range(PARTS))
        assert page.evaluate(PROTOCOLS) == ["h2"] * (1 + PARTS)
        page.context.close()

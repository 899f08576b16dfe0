"""Which versions of HTTP a client may speak (--http), and how it chooses one: ALPN, or its first bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from support.certificates import Certificate
from support.clients import Client, request
from support.harness import Server, serving
from support.http2_client import Http2Client
from support.wires import wire

APP = "tests/support/apps/served.py:app"


@pytest.fixture(params=["auto", "1.1", "2"])
def server(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[tuple[str, Server]]:
    with serving("run", APP, "--certfile", str(certificate.pem), "--http", request.param) as server:
        yield request.param, server


def curl(server: Server, certificate: Certificate, *options: str) -> str:
    host, port = server.address
    where = f"https://localhost:{port}/hello"
    command = ["curl", "-sS", "-m", "20", "--cacert", str(certificate.pem), "-w", " %{http_version}", *options, where]
    return subprocess.run([*command, "--resolve", f"localhost:{port}:{host}"], capture_output=True, text=True).stdout


def test_curl_chooses_by_alpn(server: tuple[str, Server], certificate: Certificate) -> None:
    versions, running = server
    assert curl(running, certificate, "--http2") == f"Hello, all comers {'1.1' if versions == '1.1' else '2'}"
    assert curl(running, certificate, "--http1.1") == (" 0" if versions == "2" else "Hello, all comers 1.1")


def test_a_client_without_alpn(server: tuple[str, Server], certificate: Certificate) -> None:
    versions, running = server
    with Client(wire(running.address, certificate.trusted)) as client:
        assert client.ask(request()).status == (505 if versions == "2" else 200)


@pytest.mark.parametrize("versions", ["auto", "1.1", "2"])
def test_first_bytes(versions: str) -> None:
    with serving("run", APP, "--http", versions) as server:
        with Client(wire(server.address, None)) as client:
            assert client.ask().status == (505 if versions == "2" else 200)
        if versions == "1.1":
            with Client(wire(server.address, None)) as client:
                assert client.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status == 400
        else:
            with Http2Client(server.address) as client:
                assert client.ask().body == b"Hello, all comers"

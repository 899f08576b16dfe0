"""Requests one after another on a connection, and those that make no sense."""

from __future__ import annotations

import json

import pytest

from support.apps.served import pattern
from support.clients import request
from support.conformance import (
    HELLO,
    Stage,
    is_hello,
)


def test_get(stage: Stage) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", "/hello"))
        assert is_hello(answer)
        assert answer["Content-Length"] == str(len(HELLO))
        assert answer.persists
        assert answer.chunks is None


def test_keep_alive(stage: Stage) -> None:
    with stage.client() as client:
        for size in range(0, 2000, 20):
            assert client.ask(request("GET", f"/bytes?n={size}")).body == pattern(size)


def test_connection_close(stage: Stage) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", "/bytes?n=300000", "Connection: close"))
        assert answer.body == pattern(300000)
        assert not answer.persists
        client.ends()


@pytest.mark.parametrize("path", ["/bytes?n=100000", "/stream?n=100000&piece=30000", "/stream?n=100000&length=0"])
def test_http_1_0(stage: Stage, path: str) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", path, version="1.0"))
        assert answer.body == pattern(100000)
        assert answer.chunks is None
        assert not answer.persists
        client.ends()


def test_http_1_0_without_a_host(stage: Stage) -> None:
    with stage.client() as client:
        assert is_hello(client.ask(request("GET", "/hello", version="1.0", host=None)))
        client.ends()


def test_http_1_0_keep_alive(stage: Stage) -> None:
    with stage.client() as client:
        for _ in range(10):
            answer = client.ask(request("GET", "/bytes?n=1000", "Connection: keep-alive", version="1.0"))
            assert answer.body == pattern(1000)
            assert (answer["Connection"] or "").lower() == "keep-alive"
        # What has no length ends with the connection.
        answer = client.ask(request("GET", "/stream?n=1000", "Connection: keep-alive", version="1.0"))
        assert answer.body == pattern(1000)
        client.ends()


def test_head(stage: Stage) -> None:
    with stage.client() as client:
        for path in ("/bytes?n=1000", "/stream?n=1000", "/stream?n=1000&length=0", "/files/large.bin"):
            answer, full = client.ask(request("HEAD", path)), client.ask(request("GET", path))
            assert answer.status == full.status == 200
            assert answer["Content-Length"] == full["Content-Length"]
            assert answer["Content-Type"] == full["Content-Type"]
        assert is_hello(client.ask())


def test_forms_of_the_target(stage: Stage) -> None:
    with stage.client() as client:
        seen = json.loads(client.ask(request("GET", "/seen?a=%20b", host="example.org:8000")).body)
        scheme = "https" if stage.tls else "http"
        expected = {
            "method": "GET", "target": "/seen?a=%20b", "path": "/seen", "query": "a=%20b", "host": "example.org:8000",
            "version": "1.1", "scheme": scheme, "peer": "127.0.0.1",
        }  # fmt: skip
        assert seen == expected
        seen = json.loads(client.ask(request("GET", f"{scheme}://example.org:8000/seen?a=%20b", host="other")).body)
        assert seen == expected
        assert client.ask(request("OPTIONS", "*")).status == 204
        answer = client.ask(request("OPTIONS", "/hello"))
        assert "GET" in (answer["Allow"] or "")
        assert is_hello(client.ask())


def test_what_is_not_there(stage: Stage) -> None:
    with stage.client() as client:
        assert client.ask(request("GET", "/nowhere")).status == 404
        answer = client.ask(request("POST", "/hello", body=b"a body that nobody reads"))
        assert answer.status == 405
        assert "GET" in (answer["Allow"] or "")
        assert client.ask(request("BREW", "/hello")).status == 501
        assert is_hello(client.ask())


def test_what_makes_no_sense(stage: Stage) -> None:
    for data in (b"GET /hello\r\n\r\n", b"\x16\x03\x01 this is TLS", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
        with stage.client() as client:
            client.send(request() + data)
            assert is_hello(client.answer())
            answer = client.answer()
            assert answer.status == 400
            assert not answer.persists
            client.ends()


def test_who_is_refused_in_mid_upload_reads_why(stage: Stage) -> None:
    with stage.client() as client:
        client.send(request("POST", "/echo", "Content-Length: 999999999"))
        assert client.answer().status == 413
        for _ in range(5):  # what is on its way is heard for a while: a closed socket would reset us
            client.send(pattern(100_000))
        client.ends()

"""HTTP/2 under every model: many requests at once on a connection, windows, resets, the end."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import h2.errors
import h2.settings
import pytest

from support.apps.served import pattern
from support.conformance import HELLO, LARGE, Combination, Stage, lines, only, same
from support.harness import has_noted, wait_for
from support.http2_client import Http2Client, Reply

MANY = 1_000_000
"""Bytes of a large body here: more than any window, and the package h2 is slow."""

LEAVING = "app", "--graceful-timeout", "20"

Connect = Callable[..., Http2Client]


@pytest.fixture
def connect(stage: Stage) -> Connect:
    def connect(**keywords: object) -> Http2Client:
        return Http2Client(stage.server().address, stage.tls, **keywords)  # type: ignore[arg-type]

    return connect


def several(combination: Combination) -> bool:
    """May calls of one peer run at once?"""
    return combination.calls == "pool" or (combination.calls == "auto" and combination.model != "asyncio")


def is_hello(reply: Reply) -> bool:
    return (reply.status, reply.body, reply.code) == (200, HELLO, None)


def test_one_after_another(connect: Connect) -> None:
    with connect() as client:
        for size in (0, 1, 100, 20_000, 70_000):
            reply = client.ask("GET", f"/bytes?n={size}")
            assert (reply.status, reply.body) == (200, pattern(size))
            assert reply["content-length"] == str(size)
            assert reply["date"]
            assert reply["server"]


def test_what_a_handler_sees(stage: Stage, connect: Connect) -> None:
    with connect() as client:
        seen = json.loads(client.ask("GET", "/seen?a=%20b", authority="example.org:81").body)
    assert seen["method"] == "GET"
    assert (seen["target"], seen["path"], seen["query"]) == ("/seen?a=%20b", "/seen", "a=%20b")
    assert (seen["host"], seen["version"], seen["peer"]) == ("example.org:81", "2", "127.0.0.1")
    assert seen["scheme"] == ("https" if stage.combination.tls else "http")


def test_many_at_once(connect: Connect) -> None:
    with connect() as client:
        sizes = [(number * 7919) % 40_000 for number in range(100)]
        kinds = ("bytes?n=", "stream?piece=1500&n=", "stream?length=0&n=")
        streams = [client.request("GET", f"/{kinds[number % 3]}{size}") for number, size in enumerate(sizes)]
        for reply, size in zip(client.all_replies(streams), sizes, strict=True):
            assert reply.status == 200
            same(reply.body, pattern(size))
        assert is_hello(client.ask())


def test_bodies_at_once(connect: Connect) -> None:
    with connect() as client:
        streams = [client.request("POST", "/echo", end=False) for _ in range(8)]
        for part in range(5):
            for stream in streams:
                client.send(stream, pattern(3000, 3000 * part), part == 4)
        for reply in client.all_replies(streams):
            same(reply.body, pattern(15_000))


def test_head(connect: Connect) -> None:
    with connect() as client:
        for path in ("/bytes?n=1000", "/stream?n=1000", "/stream?n=1000&length=0"):
            reply, full = client.ask("HEAD", path), client.ask("GET", path)
            assert (reply.status, reply.body, reply.code) == (200, b"", None)
            assert (reply["content-length"], reply["content-type"]) == (full["content-length"], full["content-type"])


def test_large_both_ways(connect: Connect) -> None:
    with connect() as client:
        upload = client.request("POST", "/digest", end=False)
        streams = [client.request("GET", path) for path in (f"/bytes?n={MANY}", f"/stream?n={MANY}&piece=100000")]
        client.send(upload, pattern(MANY))
        assert json.loads(client.reply(upload).body)["size"] == MANY
        for reply in client.all_replies(streams):
            same(reply.body, pattern(MANY))


def test_a_range_of_a_file(connect: Connect) -> None:
    with connect() as client:
        assert client.ask("HEAD", "/files/large.bin")["content-length"] == str(LARGE)
        reply = client.ask("GET", "/files/large.bin", ("range", "bytes=1000-100999"))
        assert (reply.status, reply["content-range"]) == (206, f"bytes 1000-100999/{LARGE}")
        same(reply.body, pattern(100_000, 1000))


def test_trailers_both_ways(connect: Connect) -> None:
    with connect() as client:
        stream = client.request("POST", "/digest", end=False)
        client.send(stream, b"abc", end=False)
        client.h2.send_headers(stream, [("x-last", "yes")], end_stream=True)
        client.flush()
        assert json.loads(client.reply(stream).body)["trailers"] == {"x-last": "yes"}
        reply = client.ask("GET", "/trailers?n=100000", ("te", "trailers"))
        assert [name for name, _ in reply.trailers] == ["x-digest"]
        assert not client.ask("GET", "/trailers?n=100000").trailers


def test_failures_end_one_stream(connect: Connect) -> None:
    with connect() as client:
        other = client.request("GET", "/bytes?n=300000")
        assert client.ask("GET", "/fail").status == 500
        broken = client.ask("GET", "/break?n=5000")
        assert (broken.status, broken.code) == (200, h2.errors.ErrorCodes.INTERNAL_ERROR)
        assert client.ask("GET", "/none").status == 404
        assert client.ask("POST", "/echo", ("expect", "something")).status == 417
        same(client.reply(other).body, pattern(300_000))
        assert is_hello(client.ask())


def test_100_continue(connect: Connect) -> None:
    with connect() as client:
        stream = client.request("POST", "/echo", ("expect", "100-continue"), end=False)
        client.hear_until(lambda: client.replies[stream].interim)
        client.send(stream, b"here it is")
        assert client.reply(stream).body == b"here it is"


@only(several)
def test_calls_run_beside_each_other(connect: Connect, tmp_path: Path) -> None:
    """None of them ends before all have begun."""
    with connect() as client:
        path = f"/wait?begun={tmp_path / 'begun'}&file={tmp_path / 'go'}"
        streams = [client.request("GET", path) for _ in range(8)]
        wait_for(lambda: len(lines(tmp_path / "begun")) == 8, "all calls to begin")
        assert is_hello(client.ask())
        (tmp_path / "go").touch()
        assert all(reply.body == pattern(10) for reply in client.all_replies(streams))


def test_a_shut_window_stops_one_stream(connect: Connect) -> None:
    with connect(opens=False) as client:
        stuck = client.request("GET", "/bytes?n=1000000")
        client.hear_until(lambda: len(client.replies[stuck].body) == 65_535)
        client.h2.increment_flow_control_window(1_000_000)
        client.flush()
        assert is_hello(client.ask())
        stream = client.request("GET", "/stream?n=60000&piece=1000")
        same(client.reply(stream).body, pattern(60_000))
        client.h2.increment_flow_control_window(1_000_000, stuck)
        client.flush()
        same(client.reply(stuck).body, pattern(1_000_000))


def test_a_reset_ends_a_response(connect: Connect, tmp_path: Path) -> None:
    with connect() as client:
        stream = client.request("GET", f"/endless?file={tmp_path / 'notes'}")
        client.hear_until(lambda: len(client.replies[stream].body) > 300_000)
        client.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        has_noted(tmp_path / "notes", "closed")
        assert is_hello(client.ask())


def test_a_client_that_goes(connect: Connect, tmp_path: Path) -> None:
    with connect() as client:
        streams = [client.request("GET", f"/closes?n=3000000&stream=1&file={tmp_path / 'notes'}") for _ in range(3)]
        client.hear_until(lambda: all(client.replies[stream].status for stream in streams))
    has_noted(tmp_path / "notes", "closed", "closed", "closed")


def test_http_1_beside_it(stage: Stage) -> None:
    with stage.client() as client:
        assert client.ask().body == HELLO


def test_other_first_bytes(stage: Stage) -> None:
    with stage.client() as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nXY\r\n\r\n")
        client.rest()


def test_a_server_that_leaves_answers_first(stage: Stage, tmp_path: Path) -> None:
    """It says which stream is the last, and ends once that is answered."""
    server = stage.server(*LEAVING)
    with Http2Client(server.address, stage.tls) as client:
        assert is_hello(client.ask())
        stream = client.request("GET", f"/wait?begun={tmp_path / 'begun'}&file={tmp_path / 'go'}")
        wait_for(lambda: lines(tmp_path / "begun"), "the call to begin")
        server.send(signal.SIGTERM)
        wait_for(lambda: "stopping" in server.stderr, "the server to stop")
        (tmp_path / "go").touch()
        assert client.reply(stream).body == pattern(10)
        client.ends()
        assert [code for _, code in client.gone][-1] == h2.errors.ErrorCodes.NO_ERROR
        assert client.gone[-1][0] == stream
    assert server.stop() == 0
    del stage.servers[LEAVING]

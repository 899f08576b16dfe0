"""ASGI apps over HTTP/2: its scope, hints, resets, and WebSockets in streams (RFC 8441)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from h2.errors import ErrorCodes

from support.certificates import Certificate
from support.frames import BINARY, CLOSE, TEXT, closing, frame, read
from support.harness import Server, serving, wait_for
from support.http2_client import Http2Client

APP = "tests/support/apps/websocket_app.py:app"
EVENTS = "tests/support/apps/http2_app.py:app"
FIELDS = ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat, other")


@pytest.fixture(params=["asyncio", "epoll"])
def server(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Server]:
    with serving("run", APP, "--model", request.param) as server:
        yield server


@pytest.fixture(params=["asyncio", "epoll"])
def events(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving("run", EVENTS, "--model", request.param) as server:
        yield server


def open_socket(client: Http2Client, path: str = "/") -> int:
    """Open a WebSocket; return its stream."""
    while not client.h2.remote_settings.enable_connect_protocol:
        client.hear()
    stream = client.connect_to("websocket", path, *FIELDS)
    client.hear_until(lambda: client.replies[stream].status or client.replies[stream].over)
    return stream


def test_a_websocket(server: Server, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with Http2Client(server.address) as client:
        stream = open_socket(client, f"/?{quote(str(note))}")
        reply = client.replies[stream]
        assert (reply.status, reply["sec-websocket-protocol"], reply["sec-websocket-accept"]) == (200, "chat", None)
        other = open_socket(client)
        for socket, sent in ((stream, frame(TEXT, b"one")), (other, frame(BINARY, b"two" * 30_000))):
            client.send(socket, sent, end=False)
        client.hear_until(lambda: read(client.replies[stream].body) and len(client.replies[other].body) > 90_000)
        assert [sent.payload for sent in read(client.replies[stream].body)] == [b"one"]
        assert [sent.payload for sent in read(client.replies[other].body)] == [b"two" * 30_000]
        client.send(stream, closing(1000), end=False)
        client.reply(stream)
        assert [sent.opcode for sent in read(reply.body)] == [TEXT, CLOSE]
        assert wait_for(lambda: note.exists() and note.read_text(), "the end to be noted") == "1000"
        client.h2.reset_stream(other)
        client.flush()


def test_a_websocket_that_is_reset(server: Server, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with Http2Client(server.address) as client:
        stream = open_socket(client, f"/?{quote(str(note))}")
        client.h2.reset_stream(stream)
        client.flush()
        assert wait_for(lambda: note.exists() and note.read_text(), "the end to be noted") == "1006"


def test_other_protocols(server: Server) -> None:
    with Http2Client(server.address) as client:
        open_socket(client)
        assert client.reply(client.connect_to("else", "/")).status == 501
        wrong = client.connect_to("websocket", "/", ("sec-websocket-version", "7"))
        client.hear_until(lambda: client.replies[wrong].over)
        assert client.replies[wrong].status == 426


def test_a_server_that_leaves_closes_websockets(tmp_path: Path) -> None:
    with serving("run", APP) as server, Http2Client(server.address) as client:
        stream = open_socket(client)
        server.send(signal.SIGTERM)
        client.hear_until(lambda: read(client.replies[stream].body))
        (end,) = read(client.replies[stream].body)
        assert (end.opcode, end.payload[:2]) == (CLOSE, (1012).to_bytes(2, "big"))
        client.send(stream, closing(1012), end=False)
        client.reply(stream)
        assert server.stop() == 0


def test_hints_trailers_and_the_scope(events: Server) -> None:
    with Http2Client(events.address) as client:
        assert client.ask("GET", "/scope").body == b"http 2 http"
        (interim,) = client.ask("GET", "/hint").interim
        assert interim == [(":status", "103"), ("link", "</style.css>; rel=preload")]
        assert client.ask("GET", "/trailers", ("te", "trailers")).trailers == [("x-last", "yes")]


def test_calls_run_beside_each_other(events: Server) -> None:
    with Http2Client(events.address) as client:
        streams = [client.request("GET", "/meet") for _ in range(10)]
        assert all(reply.body == b"10" for reply in client.all_replies(streams))


def test_a_reset_is_a_disconnect(events: Server, tmp_path: Path) -> None:
    with Http2Client(events.address) as client:
        stream = client.request("GET", f"/wait?{quote(str(tmp_path / 'note'))}")
        client.hear_until(lambda: client.replies[stream].body)
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        wait_for((tmp_path / "note").exists, "http.disconnect")
        assert client.ask("GET", "/scope").status == 200


def test_a_body_that_the_app_does_not_receive_shuts_its_window(events: Server) -> None:
    with Http2Client(events.address) as client:
        stream = client.request("POST", "/late", end=False)
        client.hear_until(lambda: client.replies[stream].body)
        sent = 0
        while (size := min(client.h2.local_flow_control_window(stream), 16_384)) > 0:
            client.h2.send_data(stream, bytes(size))
            client.flush()
            sent += size
        assert client.ask("GET", "/scope").status == 200
        assert client.h2.local_flow_control_window(stream) == 0
        client.send(client.request("POST", "/go", end=False), b"")
        client.send(stream, bytes(100_000))
        assert client.reply(stream).body == b"begun %d" % (sent + 100_000)

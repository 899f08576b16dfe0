"""Every state of an ASGI app's call × every message that it may send or receive there, as the specification has it.

Each row begins with what the specification says (https://asgi.readthedocs.io/en/latest/specs/, in our words); the app
does the row's steps (scripted_app.py). Rows without such a sentence say what is refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from allcomers.apps.asgi.lifespan import Life, Lifespan
from allcomers.apps.asgi.runtime import AsgiRuntime
from allcomers.errors import AppError
from allcomers.system import asyncio_loops
from support.apps import scripted_app
from support.clients import Client, request
from support.harness import PATIENCE, Server, chosen, serving, wait_for
from support.wires import Lost, Wire

Steps = list[Any]

LOOPS = ("asyncio", "epoll", "select", "poll", "epoll-et")
BLOCKING = ("iterative", "process", "thread", "thread-pool")
HTTP_SERVERS = chosen(
    [("asyncio", ""), ("epoll", "1"), ("thread", "")],
    [(model, pure) for model in LOOPS + BLOCKING for pure in ("", "1")],
)
WEBSOCKET_SERVERS = chosen([("asyncio", ""), ("epoll", "1")], [(model, pure) for model in LOOPS for pure in ("", "1")])
"""Models, and whether they run in plain Python (ALLCOMERS_PURE)."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        servers = WEBSOCKET_SERVERS if "websocket" in metafunc.function.__name__ else HTTP_SERVERS
        metafunc.parametrize(
            "server", servers, indirect=True, scope="module", ids=["-".join(filter(None, one)) for one in servers]
        )


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    model, pure = request.param
    options = ("--model", model, "--lifespan", "off")
    with serving(
        "run", "tests/support/apps/scripted_app.py:app", *options, quiet=False, env={"ALLCOMERS_PURE": pure}
    ) as server:
        yield server


def target(steps: Steps, notes: Path) -> str:
    return "/?" + urlencode({"do": repr(steps), "file": str(notes)})


def noted(notes: Path, count: int) -> list[str]:
    """Wait for the app's first `count` notes. Return them."""
    wait_for(lambda: count == 0 or (notes.exists() and notes.read_text().count("\n") >= count), f"{count} notes")
    return notes.read_text().split("\n")[:-1] if count else []


# ---------------------------------------------------------------- http

BROKEN = -1
"""Stands for the status of an answer that has begun and ends too early."""

FAILED = (500, b"Internal Server Error\n")
REQUEST = "{'type': 'http.request', 'body': b'', 'more_body': False}"
GONE = "{'type': 'http.disconnect'}"


def start(status: int = 200, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, **more}


def body(data: bytes = b"", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


HINT = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}


class Http(NamedTuple):
    """A row: the specification's sentence; the steps; the status and the body that the client gets; the notes."""

    sentence: str
    steps: Steps
    answer: tuple[int, bytes]
    notes: list[str]
    reported: bool = False


HTTP = [
    # before the answer
    Http("an app need not receive before it sends", [start(), body(b"a")], (200, b"a"), ["sent"] * 2),
    Http("the request comes first", ["receive", start(), body(b"a")], (200, b"a"), [REQUEST, "sent", "sent"]),
    Http("between start and body it may receive",
        [start(), "receive", body(b"a")], (200, b"a"), ["sent", REQUEST, "sent"]),
    Http("headers may be missing", [start(204), body()], (204, b""), ["sent"] * 2),
    Http("a header is any iterable of name and value",
        [start(headers=[[b"a", b"b"]]), body(b"a")], (200, b"a"), ["sent"] * 2),
    Http("hints may come before the end, as often as it likes",
        [HINT, start(), HINT, body(b"a")], (200, b"a"), ["sent"] * 4),
    Http("", [body(b"a"), start(), body(b"b")], (200, b"b"), ["AnswerError", "sent", "sent"]),
    Http("", [TRAILERS, start(), body(b"b")], (200, b"b"), ["AnswerError", "sent", "sent"]),
    Http("", [start(99), start(), body(b"b")], (200, b"b"), ["AnswerError", "sent", "sent"]),
    Http("", [{"type": "websocket.accept"}, start(), body()], (200, b""), ["AnswerError", "sent", "sent"]),
    # ends within the first step, or after a turn
    Http("start needs a body after it", [start()], FAILED, ["sent"], reported=True),
    Http("start needs a body after it", ["turn", start()], FAILED, ["sent"], reported=True),
    Http("the head need not go out before the body: an error still replaces it",
        [start(), "raise"], FAILED, ["sent"], reported=True),
    Http("the head need not go out before the body: an error still replaces it",
        [start(), "turn", "raise"], FAILED, ["sent"], reported=True),
    Http("", [], FAILED, [], reported=True),
    Http("", ["turn"], FAILED, [], reported=True),
    Http("", ["raise"], FAILED, [], reported=True),
    Http("", ["receive", "raise"], FAILED, [REQUEST], reported=True),
    # in the answer
    Http("pieces are joined", [start(), body(b"a", more_body=True), body(b"b")], (200, b"ab"), ["sent"] * 3),
    Http("body and more_body may be missing", [start(), {"type": "http.response.body"}], (200, b""), ["sent"] * 2),
    Http("a body with more_body unset ends the answer",
        [start(), body(b"a", more_body=True), {"type": "http.response.body"}], (200, b"a"), ["sent"] * 3),
    Http("announced trailers are waited for", [start(trailers=True), body(b"a"), TRAILERS], (200, b"a"), ["sent"] * 3),
    Http("trailers may come in several messages",
        [start(trailers=True), body(b"a"), {**TRAILERS, "more_trailers": True}, TRAILERS], (200, b"a"), ["sent"] * 4),
    Http("trailers follow the last body message",
        [start(trailers=True), TRAILERS, body(b"a", more_body=True), TRAILERS, body(b"b"), TRAILERS],
        (200, b"ab"), ["sent", "AnswerError", "sent", "AnswerError", "sent", "sent"]),
    Http("headers are no optional key of trailers",
        [start(trailers=True), body(b"a"), {"type": TRAILERS["type"]}, TRAILERS],
        (200, b"a"), ["sent", "sent", "AnswerError", "sent"]),
    Http("no body follows the last body message",
        [start(trailers=True), body(b"a"), body(b"b"), TRAILERS],
        (200, b"a"), ["sent", "sent", "AnswerError", "sent"]),
    Http("an app may receive while it answers",
        [start(), body(b"a", more_body=True), "receive", body(b"b")], (200, b"ab"), ["sent", "sent", REQUEST, "sent"]),
    Http("", [start(), start(), body(b"a")], (200, b"a"), ["sent", "AnswerError", "sent"]),
    Http("", [start(), TRAILERS, body(b"a")], (200, b"a"), ["sent", "AnswerError", "sent"]),
    Http("", [start(), body(b"a", more_body=True)], (BROKEN, b"a"), ["sent"] * 2, reported=True),
    Http("", [start(), body(b"a", more_body=True), "raise"], (BROKEN, b"a"), ["sent"] * 2, reported=True),
    Http("", [start(trailers=True), body(b"a")], (BROKEN, b"a"), ["sent"] * 2, reported=True),
    # after the answer
    Http("what is sent after the end is ignored",
        [start(), body(b"a"), body(b"b"), start(), HINT, TRAILERS], (200, b"a"), ["sent"] * 6),
    Http("after the answer receive() says that it is over",
        [start(), body(b"a"), "receive", "receive"], (200, b"a"), ["sent", "sent", GONE, GONE]),
    Http("an error after the answer is the app's own",
        [start(), body(b"a"), "raise"], (200, b"a"), ["sent"] * 2, reported=True),
]  # fmt: skip


def answered(client: Client) -> tuple[int, bytes]:
    """Return the status and the body of the final response; BROKEN and the chunks that came where it is cut."""
    head = client.head()
    while head.status == 103:
        head = client.head()
    if head["Transfer-Encoding"] is None:
        return head.status, client.take(int(head["Content-Length"] or 0))
    data = b""
    try:
        while size := int(client.take(3)[:-2], 16):  # no piece here has more than 15 bytes
            data += client.take(size + 2)[:-2]
    except Lost:
        return BROKEN, data
    return head.status, data


@pytest.mark.parametrize("row", HTTP, ids=lambda row: repr(row.steps)[:70])
def test_http(server: Server, tmp_path: Path, row: Http) -> None:
    before = server.stderr.count("Traceback")
    with Client(Wire(server.address)) as client:
        client.send(request("GET", target(row.steps, tmp_path / "notes"), "TE: trailers"))
        assert answered(client) == row.answer
    assert noted(tmp_path / "notes", len(row.notes)) == row.notes
    wait_for(lambda: server.stderr.count("Traceback") - before == row.reported, "what is logged")


LATE = [
    (start(headers=[(b"content-length", b"2")]), [body(b"ab")], (200, b"ab")),
    (start(), [body(b"a", more_body=True), body(b"b")], (200, b"ab")),
    (start(), [body(b"ab")], (200, b"ab")),
    (start(trailers=True), [body(b"ab"), TRAILERS], (200, b"ab")),
    (start(headers=[(b"content-type", b"text/event-stream")]), [body(b"data: 1\n\n")], (200, b"data: 1\n\n")),
    (start(headers=[(b"content-length", b"2")]), [], (BROKEN, b"")),
    (start(), [], (BROKEN, b"")),
]
"""http.response.start, the messages that come late, and the response."""


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a turn"])
@pytest.mark.parametrize(("first", "late", "expected"), LATE)
def test_http_a_head_whose_body_is_late_goes_out_by_itself(
    server: Server, tmp_path: Path, first: Any, late: Steps, expected: tuple[int, bytes], waits: bool
) -> None:
    steps = ["turn", first, "go", *late] if waits else [first, "go", *late]
    with Client(Wire(server.address)) as client:
        client.send(request("GET", target(steps, tmp_path / "notes"), "TE: trailers"))
        head = client.head()
        assert head.status == first["status"]
        (tmp_path / "notes.go").touch()
        if expected[0] == BROKEN:
            with pytest.raises(Lost):
                client.take(2)
        elif head["Transfer-Encoding"] is None:
            assert client.take(len(expected[1])) == expected[1]
        else:
            assert client.body(head) == expected[1]
    assert noted(tmp_path / "notes", 1 + len(late)) == ["sent"] * (1 + len(late))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_http_a_response_without_a_body_waits_for_its_end(server: Server, tmp_path: Path, method: str) -> None:
    """Sent at once it would be whole, and the app's send() would find no client."""
    notes = tmp_path / "notes"
    with Client(Wire(server.address)) as client:
        for status in (204, 200) if method == "HEAD" else (204,):
            notes.unlink(missing_ok=True)
            client.send(request(method, target([start(status), "pause", body()], notes)))
            assert client.answer(method).status == status
            assert noted(notes, 2) == ["sent"] * 2


# ---------------------------------------------------------------- websocket

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
CONNECT = "{'type': 'websocket.connect'}"
DENIED = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"server", b"mine")]}


def denial(data: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "websocket.http.response.body", "body": data, **more}


def text(data: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": data}


def gone(code: int, reason: str = "") -> str:
    return repr({"type": "websocket.disconnect", "code": code, "reason": reason})


def received(**message: Any) -> str:
    return repr({"type": "websocket.receive", **message})


class Socket(NamedTuple):
    """A row: the specification's sentence; the steps; the client's messages; its response; the notes.

    got  ("http", status, body) where it is refused; else (messages, code and reason of the close)
    """

    sentence: str
    steps: Steps
    said: list[str | bytes | tuple[int, str]]
    got: tuple[Any, ...]
    notes: list[str]
    reported: bool = False


REFUSED = ("http", 403, b"Forbidden\n")
NO_ANSWER = ("http", 500, b"Internal Server Error\n")
OVER = ([], 1000, "")
WEBSOCKET = [
    # before the handshake is answered
    Socket("connect is answered by accept", ["receive", ACCEPT], [], OVER, [CONNECT, "sent"]),
    Socket("accept may come first; connect is told all the same",
        [ACCEPT, "receive", "receive"], ["a"], OVER, ["sent", CONNECT, received(text="a")]),
    Socket("accept may come after a wait", ["turn", ACCEPT, "turn", "receive"], [], OVER, ["sent", CONNECT]),
    Socket("connect is answered by close: 403", ["receive", CLOSE], [], REFUSED, [CONNECT, "sent"]),
    Socket("close may come first: 403", [CLOSE], [], REFUSED, ["sent"]),
    Socket("a refused app is told that it is over",
        [CLOSE, "receive", "receive"], [], REFUSED, ["sent", CONNECT, gone(1006)]),
    Socket("close before accept may have code and reason",
        [{**CLOSE, "code": 4000, "reason": "no"}], [], REFUSED, ["sent"]),
    Socket("connect is answered by an answer of HTTP",
        ["receive", DENIED, denial(b"no")], [], ("http", 401, b"no"), [CONNECT, "sent", "sent"]),
    Socket("an answer of HTTP may come first, in pieces",
        [DENIED, denial(b"n", more_body=True), denial(b"o")], [], ("http", 401, b"no"), ["sent"] * 3),
    Socket("body may be missing",
        [DENIED, {"type": "websocket.http.response.body"}], [], ("http", 401, b""), ["sent"] * 2),
    Socket("no other message follows an answer of HTTP",
        [DENIED, ACCEPT, denial(b"no"), ACCEPT], [], ("http", 401, b"no"), ["sent", "AnswerError", "sent", "OSError"]),
    Socket("", [text("a"), CLOSE], [], REFUSED, ["AnswerError", "sent"]),
    Socket("", [denial(b"a"), CLOSE], [], REFUSED, ["AnswerError", "sent"]),
    Socket("", [start(), CLOSE], [], REFUSED, ["AnswerError", "sent"]),
    # ends before the handshake is answered
    Socket("if the app dies, the socket is closed", [], [], NO_ANSWER, [], reported=True),
    Socket("if the app dies, the socket is closed", ["receive"], [], NO_ANSWER, [CONNECT], reported=True),
    Socket("if the app dies, the socket is closed", ["turn", "raise"], [], NO_ANSWER, [], reported=True),
    Socket("if the app dies, the socket is closed", [DENIED], [], NO_ANSWER, ["sent"], reported=True),
    Socket("if the app dies, the socket is closed", [DENIED, "raise"], [], NO_ANSWER, ["sent"], reported=True),
    # open, and ends at once
    Socket("if the app ends, the socket is closed", [ACCEPT], [], OVER, ["sent"]),
    Socket("if the app ends, the socket is closed", [ACCEPT, "turn"], [], OVER, ["sent"]),
    Socket("if the app ends, the socket is closed", [ACCEPT, text("a")], [], (["a"], 1000, ""), ["sent"] * 2),
    Socket("if the app dies, the socket is closed", [ACCEPT, "raise"], [], ([], 1011, ""), ["sent"], reported=True),
    Socket("if the app dies, the socket is closed",
        ["receive", ACCEPT, "turn", "raise"], [], ([], 1011, ""), [CONNECT, "sent"], reported=True),
    # open
    Socket("text or bytes is None, or missing",
        [ACCEPT, {**text("a"), "bytes": None}, {"type": "websocket.send", "bytes": b"b", "text": None}], [],
        (["a", b"b"], 1000, ""), ["sent"] * 3),
    Socket("messages come after connect, in order",
        ["receive", ACCEPT, "receive", "receive"], ["a", b"b"],
        OVER, [CONNECT, "sent", received(text="a"), received(bytes=b"b")]),
    Socket("close has the app's code and reason",
        [ACCEPT, {**CLOSE, "code": 4000, "reason": "why"}], [], ([], 4000, "why"), ["sent"] * 2),
    Socket("the code is 1000 where there is none", [ACCEPT, CLOSE], [], OVER, ["sent"] * 2),
    Socket("the reason may be None", [ACCEPT, {**CLOSE, "code": None, "reason": None}], [], OVER, ["sent"] * 2),
    Socket("a subprotocol may be None", [{**ACCEPT, "subprotocol": None, "headers": []}], [], OVER, ["sent"]),
    Socket("", [ACCEPT, ACCEPT], [], OVER, ["sent", "AnswerError"]),
    Socket("", [ACCEPT, DENIED], [], OVER, ["sent", "AnswerError"]),
    Socket("", [ACCEPT, {"type": "websocket.send"}], [], OVER, ["sent", "AnswerError"]),
    Socket("", [{**ACCEPT, "headers": [(b"sec-websocket-protocol", b"a")]}, ACCEPT], [], OVER, ["AnswerError", "sent"]),
    # closed
    Socket("once it is closed, send() raises an OSError",
        [ACCEPT, CLOSE, text("a"), CLOSE], [], OVER, ["sent", "sent", "OSError", "OSError"]),
    Socket("after the app's close the disconnect comes",
        [ACCEPT, {**CLOSE, "code": 4000}, "told"], [], ([], 4000, ""), ["sent", "sent", gone(4000)]),
    Socket("the disconnect has the client's code and reason",
        [ACCEPT, "told"], [(4001, "bye")], ([], 4001, "bye"), ["sent", gone(4001, "bye")]),
    Socket("then send() raises an OSError",
        [ACCEPT, "told", text("a"), CLOSE], [(4001, "")], ([], 4001, ""), ["sent", gone(4001), "OSError", "OSError"]),
]  # fmt: skip


@pytest.mark.parametrize("row", WEBSOCKET, ids=lambda row: repr(row.steps)[:70])
def test_websocket(server: Server, tmp_path: Path, row: Socket) -> None:
    before = server.stderr.count("Traceback")
    assert talk(server, row, tmp_path / "notes") == row.got
    assert noted(tmp_path / "notes", len(row.notes)) == row.notes
    wait_for(lambda: server.stderr.count("Traceback") - before == row.reported, "what is logged")


def talk(server: Server, row: Socket, notes: Path) -> tuple[Any, ...]:
    host, port = server.address
    try:
        socket = connect(f"ws://{host}:{port}{target(row.steps, notes)}", proxy=None)
    except InvalidStatus as refused:
        return "http", refused.response.status_code, bytes(refused.response.body or b"")
    got: list[str | bytes] = []
    with socket:
        for said in row.said:
            if isinstance(said, tuple):
                socket.close(*said)
            else:
                socket.send(said)
        try:
            while True:
                got.append(socket.recv(timeout=PATIENCE))
        except ConnectionClosed:
            return got, socket.close_code, socket.close_reason


def test_websocket_headers_of_accept_are_the_apps_as_in_http(server: Server, tmp_path: Path) -> None:
    host, port = server.address
    headers = [(b"server", b"mine"), (b"date", b"today"), (b"x-own", b"1"), (b"connection", b"close")]
    steps = [{**ACCEPT, "headers": headers}]
    with connect(f"ws://{host}:{port}{target(steps, tmp_path / 'notes')}", proxy=None) as socket:
        assert socket.response is not None
        found = {name.lower(): value for name, value in socket.response.headers.raw_items()}
        assert len(found) == len(list(socket.response.headers.raw_items()))
    assert (found["server"], found["date"], found["x-own"], found["connection"]) == ("mine", "today", "1", "Upgrade")
    with connect(f"ws://{host}:{port}{target([ACCEPT], tmp_path / 'notes')}", proxy=None) as socket:
        assert socket.response is not None
        assert socket.response.headers["server"] == "allcomers"
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{host}:{port}{target([DENIED, denial(b'no')], tmp_path / 'notes')}", proxy=None)
    assert refused.value.response.headers["server"] == "mine"


def test_websocket_the_head_of_a_refusal_whose_body_is_late_goes_out_by_itself(server: Server, tmp_path: Path) -> None:
    with Client(Wire(server.address)) as client:
        client.send(handshake(target([DENIED, "go", denial(b"no")], tmp_path / "notes")))
        head = client.head()
        assert head.status == 401
        (tmp_path / "notes.go").touch()
        assert client.body(head) == b"no"


def test_websocket_a_long_refusal_goes_out_as_it_comes(server: Server, tmp_path: Path) -> None:
    """It is not collected first: no buffer without a limit."""
    notes = tmp_path / "notes"
    steps = ["turn", DENIED, (20, denial(b"x" * 1000, more_body=True)), "for ever"]
    with Client(Wire(server.address)) as client:
        client.send(handshake(target(steps, notes)))
        assert client.head().status == 401
        heard = client.take(20_000)
        while heard.count(b"x") < 20_000:  # and as many chunks as it comes in
            heard += client.take(1)
        assert noted(notes, 22)[-1] == "waits"
        client.wire.reset()
    noted(notes, 22)


def handshake(path: str) -> bytes:
    fields = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    return request("GET", path, *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


# ---------------------------------------------------------------- lifespan

COMPLETE = {"type": "lifespan.startup.complete"}
STARTUP = "{'type': 'lifespan.startup'}"
DOWN = {"type": "lifespan.shutdown.complete"}
SHUTDOWN = "{'type': 'lifespan.shutdown'}"


class Span(NamedTuple):
    """A row: what the specification says; the steps; whether it serves, and with a state; what is noted and logged."""

    sentence: str
    steps: Steps
    serves: str
    notes: list[str]
    logged: str = ""


LIFESPAN = [
    Span("startup, complete, shutdown, complete",
        ["receive", COMPLETE, "receive", DOWN], "with", [STARTUP, "sent", SHUTDOWN, "sent"]),
    Span("complete may come before it is received",
        [COMPLETE, "receive", "receive", DOWN], "with", ["sent", STARTUP, SHUTDOWN, "sent"]),
    Span("after complete it may end at once", [COMPLETE], "with", ["sent"]),
    Span("after complete it may end at once", ["receive", COMPLETE], "with", [STARTUP, "sent"]),
    Span("complete may come after a wait", ["turn", COMPLETE, "turn"], "with", ["sent"]),
    Span("an app that raises at the scope is served without", ["raise"], "without", []),
    Span("an app that raises at startup is served without",
        ["receive", "raise"], "without", [STARTUP], "--lifespan on"),
    Span("an app that says nothing is served without", [], "without", []),
    Span("an app that says nothing is served without", ["receive"], "without", [STARTUP]),
    Span("failed ends the server",
        ["receive", {"type": "lifespan.startup.failed", "message": "no disk"}], "not: no disk", [STARTUP, "sent"]),
    Span("failed may come first, its message be missing",
        [{"type": "lifespan.startup.failed"}], "not: it does not say why", ["sent"]),
    Span("failed is logged at the end",
        [COMPLETE, {"type": "lifespan.shutdown.failed", "message": "lost"}], "with", ["sent", "sent"],
        "shut-down failed: lost"),
    Span("its message may be missing",
        ["receive", COMPLETE, "receive", {"type": "lifespan.shutdown.failed"}],
        "with", [STARTUP, "sent", SHUTDOWN, "sent"], "shut-down failed"),
    Span("", [COMPLETE, "raise"], "with", ["sent"], "lifespan failed"),
    Span("",
        [COMPLETE, COMPLETE, "receive", "receive", DOWN, DOWN],
        "with", ["sent", "sent", STARTUP, SHUTDOWN, "sent", "sent"]),
    Span("", [{"type": "lifespan.startup"}, COMPLETE], "with", ["AnswerError", "sent"]),
    Span("", [start(), COMPLETE], "with", ["AnswerError", "sent"]),
]  # fmt: skip


@pytest.mark.parametrize("loop", ["new_event_loop", "new_selector_loop"])
@pytest.mark.parametrize("row", LIFESPAN, ids=lambda row: repr(row.steps)[:70])
def test_lifespan(row: Span, loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    notes = tmp_path / "notes"
    monkeypatch.setenv("LIFESPAN_STEPS", repr(row.steps))
    monkeypatch.setenv("LIFESPAN_FILE", str(notes))
    events: asyncio.AbstractEventLoop = getattr(asyncio_loops, loop)()
    host = AsgiRuntime(app=scripted_app.app, events=events, report=lambda error, request: None)
    life = Life(events, (Lifespan(scripted_app.app, "auto"), host))
    try:
        life.begin()
        serves = "without" if host.state is None else "with"
        life.end(monotonic() + 5, 5)
    except AppError as error:
        serves = f"not: {str(error).partition(': ')[2]}"
        events.close()
    assert serves == row.serves
    assert noted(notes, len(row.notes)) == row.notes
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(logged) == bool(row.logged), logged
    assert all(row.logged in line for line in logged)


@pytest.mark.parametrize("model", chosen(["asyncio", "thread"], LOOPS + BLOCKING))
def test_lifespan_that_ends_in_its_first_step_on_a_server(model: str, tmp_path: Path) -> None:
    env = {"LIFESPAN_STEPS": json.dumps([COMPLETE]), "LIFESPAN_FILE": str(tmp_path / "notes")}
    with serving("run", "tests/support/apps/scripted_app.py:app", "--model", model, env=env) as server:
        with Client(Wire(server.address)) as client:
            steps = [start(), body(b"a")]
            assert client.ask(request("GET", target(steps, tmp_path / "http"))).body == b"a"
        assert server.stop() == 0
    assert noted(tmp_path / "notes", 1) == ["sent"]

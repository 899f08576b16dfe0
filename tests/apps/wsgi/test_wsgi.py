"""Wsgi, to the letter of PEP 3333: the environ, the calls that an app may make and when, and the response."""

from __future__ import annotations

import contextvars
import gzip
import io
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.apps.wsgi import app as wsgi
from allcomers.apps.wsgi.app import JOINED, Wsgi
from allcomers.apps.wsgi.environ import Environs, ErrorStream, known_keys
from allcomers.apps.wsgi.file_wrapper import FileWrapper
from allcomers.apps.wsgi.start_response import _kinds, _statuses
from allcomers.errors import AnswerError
from allcomers.protocol.body import SPOOL_AT, Body
from allcomers.protocol.message import FileSlice, Request, Response
from support import offline
from support.offline import SERVER

Fields = Iterable[tuple[bytes, bytes]]


def request(method: str = "GET", target: str = "/", *, body: bytes | None = None, **keywords: Any) -> Request:
    """Return a whole request; `chunked=True` marks a chunked one, as RequestHead does."""
    chunked = keywords.pop("chunked", False)
    arrived = None
    if body is not None:
        arrived = Body()
        arrived.write(body)
        arrived.rewind()
    asked = Request(method=method, target=target, body=arrived, **keywords)
    asked.chunked = chunked
    asked.server = SERVER
    return asked


def environ(asked: Request, **keywords: Any) -> dict[str, Any]:
    return Environs(file_wrapper=FileWrapper, **keywords)(asked)


# ------------------------------------------------------------ environ


def test_environ_is_whole() -> None:
    asked = request(
        "POST",
        "/a%20b/%C3%A9?c=%20d&e",
        body=b"four",
        host="example.org:81",
        peer="192.0.2.1",
        port=4711,
        fields=[(b"Host", b"example.org:81"), (b"Content-Type", b"text/plain \t"), (b"content-length", b"4")],
    )
    found = environ(asked)
    assert found.pop("wsgi.input").read() == b"four"
    assert hasattr(found.pop("wsgi.errors"), "flush")
    assert found.pop("allcomers.disconnected")() is False
    assert found == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\xc3\xa9",  # each byte of UTF-8 as a character
        "QUERY_STRING": "c=%20d&e",
        "REQUEST_URI": "/a%20b/%C3%A9?c=%20d&e",
        "RAW_URI": "/a%20b/%C3%A9?c=%20d&e",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "4",
        "SERVER_NAME": "192.0.2.7",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "allcomers",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "example.org:81",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }
    assert type(found) is dict
    assert all(type(value) is str for key, value in found.items() if not key.startswith("wsgi."))


def test_two_requests_share_no_environ() -> None:
    environs = Environs(file_wrapper=FileWrapper)
    first, second = environs(request()), environs(request())
    first["x"] = 1
    assert "x" not in second


@pytest.mark.parametrize(
    ("root", "target", "script", "path"),
    [
        ("", "/app/x", "", "/app/x"),
        ("/app", "/app/x", "/app", "/x"),
        ("/app/", "/app/", "/app", "/"),
        ("app", "/app", "/app", ""),
        ("/app", "/apple", "/app", "/apple"),  # a proxy that takes it off
        ("/app", "/x", "/app", "/x"),
        ("/é", "/%C3%A9/x?y", "/\xc3\xa9", "/x"),
        ("/app", "*", "/app", ""),
        ("/", "/x", "", "/x"),
    ],
)
def test_where_the_app_is_mounted(root: str, target: str, script: str, path: str) -> None:
    found = environ(request(target=target), root_path=root)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (script, path)
    assert found["REQUEST_URI"] == target


@given(st.binary())
def test_a_path_is_its_bytes(path: bytes) -> None:
    target = "/" + "".join(f"%{byte:02x}" for byte in path)
    assert environ(request(target=target))["PATH_INFO"].encode("latin-1") == b"/" + path


@pytest.mark.parametrize(
    ("server", "host", "scheme", "name", "port"),
    [
        (("127.0.0.1", 8000), "example.org", "http", "127.0.0.1", "8000"),
        (("::1", 8000), "example.org", "http", "[::1]", "8000"),
        (None, "example.org:81", "http", "example.org", "81"),
        (None, "example.org", "http", "example.org", "80"),
        (None, "example.org", "https", "example.org", "443"),
        (None, "[::1]", "https", "[::1]", "443"),
        (None, "[::1]:81", "https", "[::1]", "81"),
        (None, "example.org:", "https", "example.org", "443"),
        (None, "example.org:000080", "https", "example.org", "80"),
        (None, "[::1]:", "http", "[::1]", "80"),
        (None, "", "http", "localhost", "80"),
        (("/run/app.sock", None), "example.org", "http", "example.org", "80"),
        (("/run/app.sock", None), "", "http", "localhost", "80"),
    ],
)
def test_the_server(server: tuple[str, int | None] | None, host: str, scheme: str, name: str, port: str) -> None:
    asked = request(host=host, scheme=scheme)
    asked.server = server
    found = environ(asked)
    assert (found["SERVER_NAME"], found["SERVER_PORT"]) == (name, port)
    assert found["wsgi.url_scheme"] == scheme
    assert found.get("HTTPS") == ("on" if scheme == "https" else None)


def test_fields_that_repeat_are_joined() -> None:
    fields = [(b"Accept", b"a"), (b"cookie", b"a=1 "), (b"ACCEPT", b"b"), (b"Cookie", b"b=2"), (b"X-\xe9", b"\xe9")]
    found = environ(request(fields=fields[:4]))
    assert found["HTTP_ACCEPT"] == "a, b"
    assert found["HTTP_COOKIE"] == "a=1; b=2"


def test_what_apps_are_not_to_see() -> None:
    fields = [(b"Proxy", b"http://evil.example/"), (b"proxy", b"x"), (b"Transfer-Encoding", b"chunked"), (b"A", b"1")]
    found = environ(request(fields=fields, body=b"12345", chunked=True))
    assert not {"HTTP_PROXY", "HTTP_TRANSFER_ENCODING", ""} & found.keys()
    assert found["CONTENT_LENGTH"] == "5"
    assert found["wsgi.input"].read() == b"12345"


def test_names_that_clients_choose_are_not_kept_for_ever() -> None:
    for number in range(3000):
        environ(request(fields=[(b"X-%d" % number, b"1"), (b"Y" * 100 + b"%d" % number, b"1")]))
    assert len(known_keys) <= 1024
    assert max(map(len, known_keys)) <= 64


def test_a_local_peer_on_http_1_0() -> None:
    found = environ(request(version="1.0"))
    assert (found["SERVER_PROTOCOL"], found["REMOTE_ADDR"]) == ("HTTP/1.0", "")
    assert not {"REMOTE_PORT", "HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE"} & found.keys()
    assert found["wsgi.input"].read() == b""


def test_flags() -> None:
    found = environ(request(), multithread=True, multiprocess=True)
    assert (found["wsgi.multithread"], found["wsgi.multiprocess"], found["wsgi.run_once"]) == (True, True, False)


@pytest.mark.parametrize("size", [10, SPOOL_AT + 10])
def test_input_has_what_pep_3333_asks(size: int) -> None:
    lines = [b"%07d\n" % number for number in range(size // 8)]
    body = b"".join(lines) + b"end"

    def stream() -> Any:
        return environ(request("POST", body=body))["wsgi.input"]

    streams = [stream() for _ in range(4)]
    assert (streams[0].read(3), streams[0].read(), streams[0].read(1)) == (body[:3], body[3:], b"")
    assert (streams[1].readline(), streams[1].readline(2)) == (body[:8], body[8:10])
    assert streams[2].readlines() == [*lines, b"end"]
    assert list(streams[3]) == [*lines, b"end"]
    for opened in streams:
        opened.close()


def test_errors_of_many_threads_stay_apart(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    errors = ErrorStream()

    def write(letter: str) -> None:
        for _ in range(50):
            errors.write(letter * 100 + "\n")
            errors.writelines([letter * 50, letter * 50, "\n"])

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == sorted(letter * 100 for letter in "abcd" for _ in range(100))
    monkeypatch.setattr(sys, "stderr", None)
    assert errors.write("gone") == 4
    errors.flush()


# ------------------------------------------------------------ answers


class Result:
    """An app's result: blocks, and a count of calls of close()."""

    def __init__(self, *blocks: Any) -> None:
        self.blocks = list(blocks)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks:
            if isinstance(block, BaseException):
                raise block
            yield block

    def close(self) -> None:
        self.closed += 1


class Answering:
    """A Wsgi handler of an app that returns `result`, and its reports."""

    def __init__(
        self, result: Any, headers: Any = (), status: Any = "200 OK", *, inline: bool = True, app: Any = None
    ) -> None:
        self.reported: list[BaseException] = []

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            start_response(status, headers if isinstance(headers, list) else list(headers))
            return result

        self.handler = Wsgi(app or answer, report=lambda error, _: self.reported.append(error), inline=inline)

    def __call__(self, method: str = "GET") -> Response:
        return self.handler(request(method))


def calling(app: Callable[..., Any], **keywords: Any) -> Answering:
    return Answering(None, app=app, **keywords)


def whole(response: Response) -> bytes:
    """Return the whole body, then call close()."""
    body = response.body
    pieces = [body] if isinstance(body, bytes | FileSlice) else list(body)
    data = b"".join(piece.read(len(piece)) if isinstance(piece, FileSlice) else piece for piece in pieces)
    if response.close:
        response.close()
    return data


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("blocks", [[b"Hello"], [b"He", b"llo"], [b"", b"Hello", b""]])
def test_blocks_that_are_there_are_one(kind: Any, blocks: list[bytes]) -> None:
    response = Answering(kind(blocks), [("A", "b")])()
    assert (response.status, response.headers, response.body) == (200, [("A", "b")], b"Hello")


def test_large_lists_are_not_joined() -> None:
    response = Answering([b"x" * JOINED, b"y"])()
    assert not isinstance(response.body, bytes)
    assert whole(response) == b"x" * JOINED + b"y"


def test_a_generator_is_pulled_to_its_first_block_that_is_not_empty() -> None:
    pulled = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b""
        pulled.append(0)
        start_response("202 Accepted", [("A", "b")])
        yield b""
        pulled.append(1)
        yield b"Hello"
        pulled.append(2)
        yield b""
        yield b" there"

    response = calling(app)()
    assert pulled == [0, 1]
    assert (response.status, response.headers) == (202, [("A", "b")])
    assert whole(response) == b"Hello there"


def test_a_generator_without_a_block() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield from ()

    assert calling(app)().body == b""


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("blocks", [[b"Hello"], [b"", b"Hello", b""], [b"He", b"llo"], [], [b"x" * 100_000, b"y"]])
@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_once_and_after_the_last_block(
    inline: bool, blocks: list[bytes], has_length: bool, method: str
) -> None:
    result = Result(*blocks)
    body = b"".join(blocks)
    answering = Answering(result, [("Content-Length", str(len(body)))] if has_length else [], inline=inline)
    response = answering(method)
    if inline:
        assert result.closed == 0
    elif isinstance(response.body, bytes):  # it would run in the thread that serves all
        assert response.close is None
    assert whole(response) == body
    assert result.closed == 1
    assert not answering.reported


def test_a_close_that_lasts_gets_a_call_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first slow close() delays its response where calls have threads, and from then on none does."""
    result = Result(b"Hello")
    answering = Answering(result, [("Content-Length", "5")], inline=False)
    for closed in (1, 2):
        assert answering().body == b"Hello"
        assert result.closed == closed
    monkeypatch.setattr(wsgi, "SLOW", -1.0)
    assert answering().body == b"Hello"
    response = answering()
    assert (response.body, response.headers, result.closed) == ((b"Hello",), [("Content-Length", "5")], 3)
    assert whole(response) == b"Hello"
    assert result.closed == 4
    monkeypatch.setattr(wsgi, "SLOW", 1000.0)
    for _ in range(2000):
        whole(answering())
    assert answering().body == b"Hello"  # it has been quick for long enough


@pytest.mark.parametrize("slow", [-1.0, 1000.0])
def test_a_close_that_fails_costs_no_answer(slow: float, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Result):
        def close(self) -> None:
            raise OSError("close")

    monkeypatch.setattr(wsgi, "SLOW", slow)
    answering = Answering(Failing(b"Hello"), [("Content-Length", "5")], inline=False)
    for _ in range(3):
        assert whole(answering()) == b"Hello"
    assert [str(error) for error in answering.reported] == ["close"] * 3


def test_a_block_that_is_all_that_was_promised_ends_the_answer() -> None:
    result = Result(b"Hello", AssertionError("asked for more"))
    response = Answering(result, [("content-length", "5")])()
    assert (response.body, response.headers) == (b"Hello", [])  # the connection counts bytes that are at hand
    assert whole(response) == b"Hello"
    assert result.closed == 1


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_what_has_no_body_may_have_a_length(method: str, status: str) -> None:
    answering = Answering([], [("Content-Length", "1000")], status)
    response = answering(method)
    assert response.headers == [("Content-Length", "1000")]
    assert not answering.reported


def test_an_empty_answer_to_head_says_no_length() -> None:
    assert Answering([])("HEAD").body == ()
    assert Answering([])().body == b""
    assert Answering([b"Hello"])("HEAD").body == b"Hello"  # which is never sent, but counted


@pytest.mark.parametrize(
    ("status", "number", "line"),
    [
        ("200 OK", 200, b"HTTP/1.1 200 OK\r\n"),
        ("404", 404, b"HTTP/1.1 404 Not Found\r\n"),
        ("404 ", 404, b"HTTP/1.1 404 Not Found\r\n"),
        ("404 Lost", 404, b"HTTP/1.1 404 Lost\r\n"),
        ("299 Caf\xe9", 299, b"HTTP/1.1 299 Caf\xe9\r\n"),
        ("599", 599, b"HTTP/1.1 599 \r\n"),
    ],
)
def test_a_status(status: str, number: int, line: bytes) -> None:
    for _ in range(2):  # the second is remembered
        answering = Answering([b"Hello"], status=status)
        assert answering().status == number
        far = offline.http(answering.handler)
        far.hear(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert far.said.startswith(line)


@pytest.mark.parametrize(
    "status",
    [
        "", "OK", "20 OK", "2000 OK", "100 Continue", "200OK", "200 a\r\nb: c", "200 \u20ac", "\u0662\u0660\u0660 OK",
        b"200 OK", 200, None,
    ],
)  # fmt: skip
def test_what_is_no_status(status: Any) -> None:
    with pytest.raises(AnswerError, match="status"):
        Answering([b"Hello"], status=status)()


@pytest.mark.parametrize(
    "headers",
    [
        [("A", "b\r\nc: d")], [("A", "b\n")], [("A", "\0")], [("A", "\u20ac")], [("A b", "c")], [("", "c")],
        [("A:", "b")],
        [("A", 1)], [(b"A", b"b")], [("A", None)], [("A",)], [("A", "b", "c")], ["ab", 5], [None],
        [("Content-Length", "x")], [("Content-Length", "-1")], [("Content-Length", "1, 1")],
        [("Content-Length", "\u0661")],
        [("Content-Length", 5)], [("Content-Length", "5"), ("content-length", "6")], [(["A"], "b")],
        [("Transfer-Encoding", "chunked")], [("Upgrade", "websocket")], [("Connection", "Upgrade")],
        [("TE", "trailers")],
        [("Trailer", "A")], [("Proxy-Authenticate", "Basic")], [("Connection", "close, X-A")], [("Connection", 5)],
    ],
)  # fmt: skip
def test_headers_that_cannot_be_sent(headers: Any) -> None:
    with pytest.raises(AnswerError):
        Answering([b"Hello"], headers)()


def test_headers_are_refused_while_the_app_still_runs() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        with pytest.raises(AnswerError):
            start_response("200 OK", [("A", "b\r\nc: d")])
        start_response("200 OK", [])
        return [b"Hello"]

    assert calling(app)().body == b"Hello"


def test_the_app_may_close_the_connection_and_need_not_keep_it() -> None:
    headers = [("connection", "Close"), ("Keep-Alive", "timeout=5"), ("Connection", "keep-alive"), ("Date", "never")]
    assert Answering([b"Hello"], headers)().headers == [("connection", "Close"), ("Date", "never")]


def test_headers_are_those_of_the_time_of_the_call() -> None:
    headers = [("A", "b")]
    response = Answering([b"Hello"], headers)()
    headers.append(("C", "d"))
    response.headers.append(("E", "f"))
    assert Answering([b"Hello"], headers)().headers == [("A", "b"), ("C", "d")]


def test_what_apps_say_is_not_remembered_without_end() -> None:
    for number in range(1500):
        Answering([b""], [(f"X-{number}", "1")], f"200 {number}")()
    assert len(_kinds) <= 1024
    assert len(_statuses) <= 1024


def test_start_response_comes_once_before_the_first_block() -> None:
    def twice(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return [b"Hello"]

    def never(environ: Any, start_response: Any) -> list[bytes]:
        return [b"Hello"]

    def late(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b"Hello"
        start_response("200 OK", [])

    for app, says in ((twice, "second time"), (never, "without a call of start_response"), (late, "without a call")):
        with pytest.raises(AnswerError, match=says):
            calling(app)()


def test_an_error_replaces_what_was_said_while_nothing_is_sent() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("A", "b"), ("Content-Length", "1000")])
        yield b""
        try:
            raise ValueError
        except ValueError:
            start_response("503 Sorry", [("C", "d")], sys.exc_info())
        yield b"Sorry"

    response = calling(app)()
    assert (response.status, response.headers) == (503, [("C", "d")])
    assert whole(response) == b"Sorry"


def test_an_error_after_the_first_block_is_raised_again() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"Hello"
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("503 Sorry", [], sys.exc_info())
        yield b"Sorry"

    response = calling(app)()
    pieces = iter(response.body)  # type: ignore[arg-type]
    assert next(pieces) == b"Hello"
    with pytest.raises(ValueError, match="too late"):
        next(pieces)


def test_exc_info_without_a_call_before() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            raise ValueError
        except ValueError:
            start_response("500 Oh", [], sys.exc_info())
        return [b"Oh"]

    assert calling(app)().status == 500


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (None, "an iterable of bytes, not NoneType"),
        (b"Hello", "an iterable of bytes, not bytes"),
        ("Hello", "an iterable of bytes, not str"),
        (5, "not int"),
        (["Hello"], "yields bytes, not str"),
        ([b"a", "b"], "yields bytes, not str"),
        ([bytearray(b"a")], "yields bytes, not bytearray"),
        (iter([None]), "yields bytes, not NoneType"),
        (io.StringIO("Hello"), "yields bytes, not str"),
    ],
)
def test_what_is_no_body(result: Any, says: str) -> None:
    with pytest.raises(AnswerError, match=says):
        Answering(result)()


@pytest.mark.parametrize(
    "blocks", [[ValueError("first")], [b"", ValueError("second")], ["text"], [b"", None]], ids=["a", "b", "c", "d"]
)
def test_close_is_called_where_there_will_be_no_answer(blocks: list[Any]) -> None:
    result = Result(*blocks)
    with pytest.raises((ValueError, AnswerError)):
        Answering(result)()
    assert result.closed == 1


def test_a_close_that_fails_does_not_hide_why_it_was_called() -> None:
    class Failing(Result):
        def close(self) -> None:
            super().close()
            raise OSError("close")

    result = Failing(ValueError("first"))
    answering = Answering(result)
    with pytest.raises(ValueError, match="first"):
        answering()
    assert [str(error) for error in answering.reported] == ["close"]
    assert result.closed == 1


# ------------------------------------------------------------ write()


def writing(*data: Any, result: Any = (), headers: Any = ()) -> Answering:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", list(headers))
        for piece in data:
            write(piece)
        return result

    return calling(app)


def test_what_is_written_goes_out_before_the_first_block() -> None:
    result = Result(b"", b"c", b"d")
    response = writing(b"a", b"", b"b", result=result)()
    assert whole(response) == b"abcd"
    assert result.closed == 1
    assert writing(b"a", b"b")().body == b"ab"
    assert writing(b"a", result=[b"b"], headers=[("Content-Length", "2")])().headers == [("Content-Length", "2")]
    assert whole(writing(b"", result=[b"b"])()) == b"b"


@pytest.mark.parametrize("result", [(), [b"end"]])
def test_much_that_is_written_waits_in_a_file_and_goes_out_from_there(result: Any) -> None:
    block = bytes(range(256)) * 1024
    response = writing(block, block, block, result=result)()
    pieces = [response.body] if isinstance(response.body, FileSlice) else list(response.body)
    file = pieces[0]
    assert isinstance(file, FileSlice)
    assert file.read(len(file)) == block * 3
    assert pieces[1:] == list(result)
    assert response.close
    response.close()
    with pytest.raises(ValueError, match="closed"):
        file.file.fileno()


def test_the_file_is_closed_where_the_app_fails() -> None:
    """A file left to the collector would be a ResourceWarning, which is an error here."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"x" * SPOOL_AT * 2)
        raise ValueError

    def later(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b""
        app(environ, start_response)

    for failing in (app, later):
        with pytest.raises(ValueError):
            calling(failing)()


def test_a_generator_may_write_before_its_first_block_and_not_after() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        yield b""
        write(b"b")
        yield b"c"
        with pytest.raises(AnswerError, match="after the first block"):
            write(b"d")

    assert whole(calling(app)()) == b"abc"


@pytest.mark.parametrize("data", ["a", None, bytearray(b"a"), 5])
def test_bytes_are_written(data: Any) -> None:
    with pytest.raises(AnswerError, match=r"write\(\) takes bytes"):
        writing(data)()


def test_an_error_after_a_write_is_raised_again() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"a")
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("503 Sorry", [], sys.exc_info())

    with pytest.raises(ValueError, match="too late"):
        calling(app)()


# ------------------------------------------------------------ files


def wrapping(file: Any, headers: Any = (), **keywords: Any) -> Answering:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file, 3)

    return calling(app, **keywords)


LARGE = b"0123456789" * 2000  # above SMALL


@pytest.mark.parametrize("content", [LARGE, b"0123456789"])
def test_a_file_goes_out_from_its_position_on(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    for buffering in (-1, 0):
        file = (tmp_path / "file").open("rb", buffering=buffering)
        assert file.read(2) == b"01"
        response = wrapping(file)()
        if content is LARGE:
            assert isinstance(response.body, FileSlice)
            assert (response.body.offset, response.body.count) == (2, len(LARGE) - 2)
        else:
            assert isinstance(response.body, bytes)
        assert whole(response) == content[2:]
        assert file.closed


def test_a_file_beside_a_pool_goes_out_whole_and_is_closed_by_any_thread(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    file = (tmp_path / "file").open("rb")
    response = wrapping(file, inline=False)()
    assert isinstance(response.body, FileSlice)
    assert response.close == file.close
    assert whole(response) == LARGE
    assert file.closed


def test_where_an_app_closes_more_than_its_file_that_is_a_further_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    file = (tmp_path / "file").open("rb")
    closed: list[str] = []
    file.close, close = lambda: (closed.append("app"), close()), file.close  # type: ignore[method-assign]  # as Django has it
    response = wrapping(file, inline=False)()
    assert response.headers == [("Content-Length", "20000")]
    assert not isinstance(response.body, FileSlice)
    assert whole(response) == LARGE
    assert (closed, file.closed) == (["app"], True)


def test_a_small_file_beside_a_pool_is_closed_by_the_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    file = (tmp_path / "file").open("rb")
    response = wrapping(file, inline=False)()
    assert file.closed
    assert (response.body, response.close) == (b"0123456789", None)


@pytest.mark.parametrize("make", [tempfile.TemporaryFile, tempfile.NamedTemporaryFile])
def test_a_temporary_file_goes_out_whole(make: Any) -> None:
    file = make()
    file.write(LARGE)
    file.seek(3)
    file.write(b"x")  # in its buffer still
    response = wrapping(file)()
    del file
    assert isinstance(response.body, FileSlice)
    assert whole(response) == LARGE[4:]


class Halves:
    """A file like gzip.GzipFile: it reads by halves, with its own position and the descriptor of another file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def read(self, size: int) -> bytes:
        return self._file.read(size)[::2]

    def fileno(self) -> int:
        return self._file.fileno()

    def tell(self) -> int:
        return 0

    def close(self) -> None:
        self._file.close()


def test_what_is_no_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"012345678")
    with gzip.open(tmp_path / "file.gz", "wb") as packed:
        packed.write(b"0123456789")
    spooled = tempfile.SpooledTemporaryFile()
    spooled.write(b"spooled")
    spooled.seek(0)
    for file, body in (
        (io.BytesIO(b"0123456789"), b"0123456789"),
        (gzip.open(tmp_path / "file.gz"), b"0123456789"),
        (io.BufferedReader(gzip.open(tmp_path / "file.gz")), b"0123456789"),  # type: ignore[arg-type]
        (Halves(tmp_path / "file"), b"023568"),
        (spooled, b"spooled"),
        (Path("/proc/self/statm").open("rb"), Path("/proc/self/statm").read_bytes()[:3]),
    ):
        response = wrapping(file)()
        assert not isinstance(response.body, FileSlice)
        assert whole(response).startswith(body)
        if not isinstance(file, Halves):
            assert file.closed


def test_an_empty_file_and_one_that_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "read").write_bytes(b"12345")
    read = (tmp_path / "read").open("rb")
    read.seek(100)
    for file in ((tmp_path / "empty").open("rb"), read):
        assert whole(wrapping(file)()) == b""


def test_a_file_of_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with (tmp_path / "file").open() as file, pytest.raises(AnswerError, match="yields bytes, not str"):
        wrapping(file)()


def test_a_file_without_close_and_a_wrapper_that_is_iterated() -> None:
    class Bare:
        data = iter([b"ab", b"c", b""])

        def read(self, size: int) -> bytes:
            assert size == 3
            return next(self.data)

    wrapper = FileWrapper(Bare(), 3)
    assert not hasattr(wrapper, "close")
    assert list(wrapper) == [b"ab", b"c"]
    assert whole(wrapping(io.BytesIO(b"x"), [("Content-Length", "1")])()) == b"x"


# ------------------------------------------------------------ threads and contexts

USER: contextvars.ContextVar[str] = contextvars.ContextVar("USER", default="nobody")


def test_two_answers_in_pieces_have_their_own_context() -> None:
    """Flask's `request` is a context variable, and streams of one thread take turns."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        token = USER.set(environ["PATH_INFO"])
        try:
            for _ in range(3):
                yield USER.get().encode()
        finally:
            USER.reset(token)  # a ValueError in another context than that of set()

    handler = calling(app).handler
    first, second = handler(request(target="/a")), handler(request(target="/b"))
    assert USER.get() == "nobody"
    turns = [piece for pair in zip(first.body, second.body, strict=True) for piece in pair]  # type: ignore[arg-type]
    assert turns == [b"/a", b"/b"] * 3


def test_pieces_and_close_may_run_in_other_threads() -> None:
    seen: list[str] = []

    class Stream(Result):
        def close(self) -> None:
            super().close()
            seen.append(USER.get())

    result = Stream(b"a", b"b", b"c")

    def app(environ: Any, start_response: Any) -> Stream:
        USER.set("somebody")
        start_response("200 OK", [])
        return result

    response = calling(app, inline=False)()
    pieces = iter(response.body)  # type: ignore[arg-type]
    got: list[Any] = []
    for step in (lambda: got.append(next(pieces)), lambda: got.append(list(pieces)), response.close):
        assert step
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert got == [b"a", [b"b", b"c"]]
    assert seen == ["somebody"]


# ------------------------------------------------------------ on the wire


def test_the_validator_is_content_with_what_apps_are_told() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    reported: list[BaseException] = []
    handler = Wsgi(validator(app), report=lambda error, _: reported.append(error))
    far = offline.http(handler)
    far.hear(b"POST /a%20b?c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\nHello")
    far.hear(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthere\r\n0\r\n\r\n")
    far.hear(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [(status, body) for status, _, body in offline.answers(far.said)] == [
        (200, b"Hello"), (200, b"there"), (200, b""),
    ]  # fmt: skip
    assert not reported


def test_an_answer_cut_short_ends_the_connection() -> None:
    noted = offline.Noted()
    answering = Answering([b"Hello"], [("Content-Length", "9")])
    far = offline.http(answering.handler, noted=noted)
    far.hear(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nContent-Length: 9\r\n" in far.said
    assert far.said.endswith(b"\r\n\r\nHello")
    assert far.shut
    assert [type(error) for error in noted.errors] == [AnswerError]

"""Web: the method of a request, and the response of each kind of returned value."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.apps.web import HTML, JSON, OCTETS, PLAIN, REGISTERED, Web, as_handler
from allcomers.errors import AnswerError, ConfigError, HttpError
from allcomers.protocol.body import Body
from allcomers.protocol.message import FileSlice, Request, Response

FORM = [(b"Content-Type", b"application/x-www-form-urlencoded")]


def request(method: str = "GET", target: str = "/", body: bytes = b"", fields: Iterable[tuple[bytes, bytes]] = ()):
    arrived = Body()
    arrived.write(body)
    arrived.rewind()
    return Request(method=method, target=target, body=arrived, fields=fields)


def returning(value: Any) -> Web:
    class Returns(Web):
        def get(self, request: Request) -> Any:
            return value() if callable(value) else value

    return Returns()


def answer(value: Any) -> Response:
    return returning(value)(request())


def kind(response: Response) -> str | None:
    found = [value for name, value in response.headers if name.lower() == "content-type"]
    assert len(found) <= 1
    return found[0] if found else None


class Note(Web):
    """A typical handler class, with helpers that HTTP must not reach."""

    title = "note"

    def __init__(self) -> None:
        self.copy = lambda request: "private"

    def get(self, request: Request) -> str:
        return "read"

    def post(self, request: Request) -> str:
        return request.form["text"]

    def put(self, request: Request) -> Any:
        return request.json()

    def update(self, request: Request) -> str:
        return "private"

    def _private(self, request: Request) -> str:
        return "private"


def test_a_method_answers_its_own_http_method() -> None:
    note = Note()
    assert note(request("GET")).body == b"read"
    assert note(request("POST", body=b"text=hi", fields=FORM)).body == b"hi"
    assert note(request("PUT", body=b"[1]")).body == b"[1]"


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "TRACE", "CONNECT", "COPY", "UPDATE"])
def test_a_registered_method_that_is_missing_gets_405_with_allow(method: str) -> None:
    response = Note()(request(method))
    assert response.status == 405
    assert dict(response.headers)["Allow"] == "GET, HEAD, POST, PUT, OPTIONS"


@pytest.mark.parametrize("method", ["get", "Get", "_PRIVATE", "_private", "__INIT__", "__init__", "TITLE", "BREW", ""])
def test_no_registered_method_gets_501_and_reaches_no_attribute(method: str) -> None:
    assert Note()(request(method)).status == 501


@given(st.text())
def test_any_other_word_gets_501(method: str) -> None:
    assert Note()(request(method)).status == 501 or method in REGISTERED


def test_head_falls_back_to_get_and_can_be_written() -> None:
    class Own(Note):
        def head(self, request: Request) -> Response:
            return Response(headers={"X-Own": "1"})

    assert Note()(request("HEAD")).body == b"read"
    assert Own()(request("HEAD")).headers == [("X-Own", "1")]


def test_no_get_no_head() -> None:
    class Sink(Web):
        def post(self, request: Request) -> None:
            return None

    assert Sink()(request("HEAD")).status == 405
    assert dict(Sink()(request("HEAD")).headers)["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("target", ["/", "*"])
def test_options_is_answered_with_allow(target: str) -> None:
    response = Note()(request("OPTIONS", target))
    assert (response.status, response.body) == (204, b"")
    assert response.headers == [("Allow", "GET, HEAD, POST, PUT, OPTIONS")]


def test_options_can_be_written_and_asks_its_base() -> None:
    class Cors(Note):
        def options(self, request: Request) -> Any:
            response = super().options(request)
            assert isinstance(response, Response)
            response.headers.append(("Access-Control-Allow-Origin", "*"))
            return response

    assert dict(Cors()(request("OPTIONS")).headers) == {
        "Allow": "GET, HEAD, POST, PUT, OPTIONS",
        "Access-Control-Allow-Origin": "*",
    }
    assert len(Cors()(request("OPTIONS")).headers) == 2  # the next answer starts afresh


def test_a_bare_web_and_an_inherited_method_taken_back() -> None:
    class ReadOnly(Note):
        post = None
        put = None

    assert Web()(request("GET")).status == 405
    assert dict(ReadOnly()(request("POST")).headers)["Allow"] == "GET, HEAD, OPTIONS"


def test_extra_methods_dispatch() -> None:
    class Dav(Web):
        extra_methods = ("PROPFIND", "VERSION-CONTROL", "TRACE")

        def propfind(self, request: Request) -> str:
            return "props"

        def version_control(self, request: Request) -> str:
            return "versions"

    assert Dav()(request("PROPFIND")).body == b"props"
    assert Dav()(request("VERSION-CONTROL")).body == b"versions"
    assert dict(Dav()(request("TRACE")).headers)["Allow"] == "OPTIONS, PROPFIND, VERSION-CONTROL"


@pytest.mark.parametrize(
    ("extra", "says"), [("PROPFIND", "is a str"), (("PURGE",), "'PURGE'"), (("__INIT__",), "no reg")]
)
def test_bad_extra_methods_are_refused_at_the_class(extra: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        type("Bad", (Web,), {"extra_methods": extra})


class Text(str):
    """A str of another class, as markupsafe's Markup."""


@pytest.mark.parametrize(
    ("value", "body", "media_type"),
    [
        ("grüß", "grüß".encode(), HTML),
        (Text("markup"), b"markup", HTML),
        ("\udcff\ud800", b"??", HTML),
        (b"\x00\xff", b"\x00\xff", OCTETS),
        (bytearray(b"ab"), b"ab", OCTETS),
        (memoryview(b"ab"), b"ab", OCTETS),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'.encode(), JSON),
        ([], b"[]", JSON),
        ({"path": "/\udcff"}, b'{"path":"/\\udcff"}', JSON),
    ],
)
def test_a_value_becomes_body_and_type(value: Any, body: bytes, media_type: str) -> None:
    response = answer(value)
    assert (response.status, response.body, kind(response)) == (200, body, media_type)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).filter(lambda value: isinstance(value, dict | list))
)
def test_json_comes_back_the_same(value: Any) -> None:
    body = answer(value).body
    assert isinstance(body, bytes)
    assert json.loads(body) == value


def test_not_a_number_is_no_json() -> None:
    with pytest.raises(ValueError):
        answer({"a": float("nan")})


def test_none_is_204() -> None:
    response = answer(None)
    assert (response.status, response.body, response.headers) == (204, b"", [])


def test_a_response_passes_through() -> None:
    response = Response(b"x", status=418)
    assert answer(response) is response


def test_tuples() -> None:
    assert answer(("made", 201)).status == 201
    gone = answer((None, 410))
    assert (gone.status, gone.body, gone.headers) == (410, b"", [])
    assert answer(("x", 200, {"X-A": "1"})).headers == [("Content-Type", HTML), ("X-A", "1")]
    assert answer(("x", 200, [("Set-Cookie", "a"), ("Set-Cookie", "b")])).headers[1:] == [
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
    ]
    assert answer(("{}", 200, {"content-type": "application/json"})).headers == [("content-type", "application/json")]


@pytest.mark.parametrize(
    "value",
    [7, 1.5, True, object(), ("a",), (), ("a", "200"), ("a", 99), ("a", 100), ("a", 600), ("a", 200, {}, 1),
     (("a", 200), 200), (Response(), 200)],
)  # fmt: skip
def test_what_cannot_be_an_answer_is_an_answer_error(value: Any) -> None:
    with pytest.raises(AnswerError):
        answer(value)


def pieces(response: Response) -> list[Any]:
    assert not isinstance(response.body, bytes | FileSlice)
    return list(response.body)


def test_a_generator_is_streamed_and_its_first_piece_decides_the_type() -> None:
    text, data = answer(lambda: (c for c in ["ü", b"b"])), answer(lambda: iter([b"a", "b"]))
    assert (kind(text), pieces(text)) == (HTML, ["ü".encode(), b"b"])
    assert (kind(data), pieces(data)) == (OCTETS, [b"a", b"b"])
    empty = answer(lambda: iter(()))
    assert (kind(empty), b"".join(pieces(empty))) == (HTML, b"")


def test_a_file_and_file_slices_are_streamed(tmp_path: Any) -> None:
    (tmp_path / "f").write_bytes(b"one\ntwo\n")
    file = (tmp_path / "f").open("rb")
    response = answer(file)
    assert (kind(response), pieces(response)) == (OCTETS, [b"one\n", b"two\n"])
    assert response.close is not None
    response.close()
    assert file.closed
    part = FileSlice(file, 0, 3)
    assert pieces(answer(lambda: iter([part]))) == [part]


def test_a_stream_is_pulled_no_further_than_asked_and_closed_once() -> None:
    seen: list[str] = []

    def stream() -> Iterator[str]:
        try:
            for word in ("a", "b", "c"):
                seen.append(word)
                yield word
        finally:
            seen.append("closed")

    response = answer(stream)
    assert seen == ["a"]
    body = iter(response.body)  # type: ignore[arg-type]
    assert [next(body), next(body)] == [b"a", b"b"]
    assert response.close is not None
    response.close()
    assert seen == ["a", "b", "closed"]


def test_with_a_content_type_of_its_own_nothing_is_pulled_ahead() -> None:
    def stream() -> Iterator[str]:
        raise AssertionError("too early")
        yield ""

    response = answer(lambda: (stream(), 200, {"Content-Type": "text/event-stream"}))
    assert kind(response) == "text/event-stream"


def test_an_error_before_the_first_yield_is_still_an_answer() -> None:
    class Guarded(Web):
        def get(self, request: Request) -> Iterator[str]:
            raise HttpError(403, "Not yours.")
            yield ""

    response = Guarded()(request())
    assert (response.status, response.body) == (403, b"Not yours.\n")


def test_a_bad_first_piece_closes_what_it_came_from() -> None:
    class Source(io.BytesIO):
        def __next__(self) -> Any:
            return 7

    source = Source()
    with pytest.raises(AnswerError, match="yielded int"):
        answer(source)
    assert source.closed


def test_a_bad_later_piece_is_an_answer_error() -> None:
    with pytest.raises(AnswerError, match="yielded int"):
        pieces(answer(lambda: iter(["a", 7])))


def test_http_error_is_a_small_text() -> None:
    def fail() -> None:
        raise HttpError(401, "Who? <b>\udcff", headers={"WWW-Authenticate": "Basic"})

    response = answer(fail)
    assert (response.status, response.body, kind(response)) == (401, b"Who? <b>?\n", PLAIN)
    assert ("WWW-Authenticate", "Basic") in response.headers


def test_http_error_without_a_message_says_the_phrase() -> None:
    def fail(status: int) -> Any:
        def get() -> None:
            raise HttpError(status)

        return answer(get).body

    assert fail(404) == b"Not Found\n"
    assert fail(599) == b"Error 599\n"


@pytest.mark.parametrize("status", [0, 200, 302, 600])
def test_http_error_takes_error_statuses_only(status: int) -> None:
    with pytest.raises(ValueError):
        HttpError(status)


def test_an_error_of_the_method_passes_through_even_a_key_error() -> None:
    with pytest.raises(KeyError):
        answer(lambda: {}["x"])


def test_one_answers_fields_are_not_another_ones() -> None:
    web = returning("x")
    web(request()).headers.append(("X-Mine", "1"))
    assert web(request()).headers == [("Content-Type", HTML)]


def test_state_on_self_is_shared_by_threads() -> None:
    class Counter(Web):
        def __init__(self) -> None:
            self.count, self.guard = 0, threading.Lock()

        def post(self, request: Request) -> str:
            with self.guard:
                self.count += 1
            return str(self.count)

    counter = Counter()
    threads = [threading.Thread(target=lambda: [counter(request("POST")) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter(request("POST")).body == b"401"


def test_as_handler() -> None:
    note = Note()
    assert as_handler(note) is note
    assert isinstance(as_handler(Note), Note)
    assert as_handler(lambda request: Response(b"x"))(request()).body == b"x"


class NoWeb:
    pass


async def coroutine(request: Request) -> Response:
    return Response()


@pytest.mark.parametrize(
    ("target", "says"), [(NoWeb, r"NoWeb\(...\)"), (7, "7 is no handler"), (coroutine, "is async")]
)
def test_what_is_no_handler_is_refused_in_one_line(target: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        as_handler(target)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- what a client filled in


class Echo(Web):
    def get(self, request: Request) -> Any:
        return request.args

    def post(self, request: Request) -> Any:
        return request.form

    def put(self, request: Request) -> Any:
        return {"json": request.json()}


def test_args_are_decoded_and_the_last_wins() -> None:
    assert request(target="/?a=1&b=%C3%BC+x&a=2&empty=&flag").args == {"a": "2", "b": "ü x", "empty": "", "flag": ""}
    assert request(target="/").args == {}


def test_a_form_is_decoded() -> None:
    fields = [(b"content-type", b"Application/X-WWW-Form-urlencoded; charset=UTF-8")]
    assert request("POST", body=b"a=%26&b=\xc3\xbc&a=x+y", fields=fields).form == {"a": "x y", "b": "ü"}
    assert request("POST").form == {}


def test_values_that_come_several_times() -> None:
    query = request(target="/?a=1&b=2&a=3").args
    assert query.all("a") == ["1", "3"]
    assert query.all("none") == []
    assert query.pairs == [("a", "1"), ("b", "2"), ("a", "3")]
    assert request("POST", body=b"x=1&x=", fields=FORM).form.all("x") == ["1", ""]


def test_too_many_fields() -> None:
    fields = b"a&" * 1000 + b"a"
    assert Echo()(request("POST", body=fields, fields=FORM)).status == 413
    assert Echo()(request(target="/?" + fields.decode())).status == 400


@pytest.mark.parametrize("body", [b"a=%ff", b"\xff=1", b"a=%ED%A0%80"])
def test_a_bad_form_or_query_is_the_clients_error(body: bytes) -> None:
    assert Echo()(request("POST", body=body, fields=FORM)).status == 400
    assert Echo()(request(target="/?" + body.decode("latin-1"))).status == (400 if b"\xff" not in body else 200)


def test_a_form_of_another_type_is_415() -> None:
    mixed = [(b"Content-Type", b"multipart/mixed; boundary=x")]
    assert Echo()(request("POST", body=b"--x--", fields=mixed)).status == 415
    assert Echo()(request("POST", body=b"a=1")).status == 415


def test_json_is_read() -> None:
    assert Echo()(request("PUT", body=b' {"a": [1, null]} ')).body == b'{"json":{"a":[1,null]}}'


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{'a': 1}", b"NaN", b"[-Infinity]", b"\xff\xfe\xff", b'"\x00"', b"[" * 200_000, b"1" * 10_000, b"1 2"],
    ids=lambda body: repr(body[:12]),
)
def test_bad_json_is_the_clients_error(body: bytes) -> None:
    response = Echo()(request("PUT", body=body))
    assert (response.status, response.body) == (400, b"The body is not valid JSON.\n")


@given(st.sampled_from(["GET", "POST", "PUT"]), st.binary(max_size=60))
def test_no_bytes_of_a_client_make_a_500(method: str, sent: bytes) -> None:
    target = "/?" + sent.decode("latin-1").encode("ascii", "ignore").decode()
    assert Echo()(request(method, target, sent, FORM)).status in (200, 400)

"""routes: the handler of a path, and the request that it sees."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.apps.routes import routes
from allcomers.apps.web import Web
from allcomers.errors import ConfigError, HttpError
from allcomers.protocol.message import Handler, Request, Response


def ask(handler: Handler, target: str, method: str = "GET") -> Response:
    return handler(Request(method=method, target=target))


def named(name: str) -> Handler:
    """Return a handler that responds with the request it saw: name, prefix, path."""

    def handler(request: Request) -> Response:
        assert request.prefix + request.path == Request(method="GET", target=request.target).path
        return Response(f"{name} {request.prefix!r} {request.path!r}".encode("utf-8", "surrogateescape"))

    return handler


SITE = routes(
    {
        "/": named("site"),
        "/api/": named("api"),
        "/api/v2/": named("v2"),
        "/health": named("health"),
        "/api/ping": named("ping"),
        "/ü b/": named("umlaut"),
    }
)


@pytest.mark.parametrize(
    ("target", "saw"),
    [
        ("/", "site '' '/'"),
        ("/index.html?q=/api/", "site '' '/index.html'"),
        ("/apix", "site '' '/apix'"),
        ("/API/", "site '' '/API/'"),
        ("/api/", "api '/api' '/'"),
        ("/api/x/y?q", "api '/api' '/x/y'"),
        ("/api/v2/", "v2 '/api/v2' '/'"),
        ("/api/v2/x", "v2 '/api/v2' '/x'"),
        ("/api/v2x", "api '/api' '/v2x'"),
        ("/health", "health '' '/health'"),
        ("/health/", "site '' '/health/'"),
        ("/api/ping", "ping '' '/api/ping'"),
        ("/api/ping/", "api '/api' '/ping/'"),
        ("/%61pi/x", "api '/api' '/x'"),
        ("/api%2Fx", "api '/api' '/x'"),
        ("/%C3%BC%20b/x", "umlaut '/ü b' '/x'"),
        ("//api/x", "site '' '//api/x'"),
        ("/api//x", "api '/api' '//x'"),
        ("/%252e%252e/api/", "site '' '/%2e%2e/api/'"),
        ("/...", "site '' '/...'"),
        ("/.well-known/x", "site '' '/.well-known/x'"),
        ("/a..b/..c/d..", "site '' '/a..b/..c/d..'"),
    ],
)
def test_the_longest_key_wins_and_is_taken_off(target: str, saw: str) -> None:
    assert ask(SITE, target).body == saw.encode()


@pytest.mark.parametrize(
    "target",
    [
        "/..",
        "/../",
        "/api/../health",
        "/api/%2e%2e/x",
        "/api/.%2E/",
        "/api%2f..%2f",
        "/./api/",
        "/x/.",
        "/%2e/",
        "//..",
    ],
)
def test_dot_segments_are_refused_before_any_handler(target: str) -> None:
    assert ask(SITE, target).status == 400


@given(st.lists(st.sampled_from(["/", ".", "%2e", "%2F", "api", "v2", "a", "%ff", "%5c", "%00", "health"])))
def test_no_handler_sees_a_dot_segment_or_a_path_without_a_slash(parts: list[str]) -> None:
    def handler(request: Request) -> Response:
        assert request.path.startswith("/")
        assert not {".", ".."} & set(request.path.split("/"))
        assert request.prefix + request.path == whole
        return Response()

    target = "/" + "".join(parts)
    whole = Request(method="GET", target=target).path
    everywhere = routes(dict.fromkeys(("/", "/api/", "/api/v2/", "/health"), handler))
    assert ask(everywhere, target).status in (200, 307, 400)


def test_the_order_of_the_table_does_not_matter() -> None:
    turned = routes({"/api/v2/": named("v2"), "/api/": named("api"), "/": named("site")})
    for target in ("/", "/api/x", "/api/v2/x"):
        assert ask(turned, target).body == ask(SITE, target).body


def test_nothing_matches_is_404() -> None:
    handler = routes({"/api/": named("api"), "/health": named("health")})
    for target in ("/", "/x", "/health/", "//api/"):
        assert ask(handler, target).status == 404


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/api", "/api/"),
        ("/api?a=1&b=%0d%0a", "/api/?a=1&b=%0d%0a"),
        ("/%61pi?", "/api/"),
        ("/api/v2", "/api/v2/"),
        ("/%C3%BC%20b", "/%C3%BC%20b/"),
    ],
)
def test_a_folder_without_its_slash_is_redirected(target: str, location: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        response = ask(SITE, target, method)
        assert (response.status, response.headers) == (307, [("Location", location)])


def test_an_exact_key_beside_a_folder_is_not_redirected() -> None:
    handler = routes({"/api": named("exact"), "/api/": named("tree")})
    assert ask(handler, "/api").body == b"exact '' '/api'"


def test_routes_within_routes() -> None:
    handler = routes({"/a/": routes({"/": named("root"), "/b/": named("leaf"), "/c": named("exact")})})
    assert ask(handler, "/a/x").body == b"root '/a' '/x'"
    assert ask(handler, "/a/b/x").body == b"leaf '/a/b' '/x'"
    assert ask(handler, "/a/c").body == b"exact '/a' '/c'"
    assert ask(handler, "/a/b?q").headers == [("Location", "/a/b/?q")]


def test_no_redirect_leads_to_another_host() -> None:
    handler = routes({"/": routes({"/evil.example/": named("x")})})
    for target in ("//evil.example", "/%2fevil.example", "///evil.example"):
        assert ask(handler, target).status == 404


def test_options_asterisk_is_a_no_op() -> None:
    assert ask(SITE, "*", "OPTIONS").status == 204
    assert ask(SITE, "*").status == 404


def test_a_web_class_is_made_once_also_under_two_keys() -> None:
    class Counter(Web):
        def __init__(self) -> None:
            self.count = 0

        def get(self, request: Request) -> str:
            self.count += 1
            return f"{self.count} {request.path}"

    handler = routes({"/count": Counter, "/count/": Counter, "/own/": Counter()})
    assert ask(handler, "/count").body == b"1 /count"
    assert ask(handler, "/count/x").body == b"2 /x"
    assert ask(handler, "/own/x").body == b"1 /x"


def test_an_http_error_of_a_plain_function_becomes_its_answer() -> None:
    def handler(request: Request) -> Response:
        raise HttpError(403, "No.")

    response = ask(routes({"/": handler}), "/")
    assert (response.status, response.body) == (403, b"No.\n")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", "begins with"),
        ("api/", "begins with"),
        (7, "must be a str"),
        ("/a//b/", "segment"),
        ("/a/../b", "segment"),
        ("/./", "segment"),
        ("/a%20b/", "'/a b/'"),
        ("/users/<id>", "a parameter is a segment"),
        ("/api/*", "a parameter is a segment"),
        ("/a?b=c", "a parameter is a segment"),
        ("/a\nb", "control"),
    ],
)
def test_a_bad_key_is_refused_in_one_line(key: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        routes({key: named("x")})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", [{}, None, [("/", named("x"))]])
def test_no_table_is_refused(table: Any) -> None:
    with pytest.raises(ConfigError, match="needs a dict"):
        routes(table)


@pytest.mark.parametrize("value", [None, "public", dict, {"/x": named("x")}])
def test_a_value_that_is_no_handler_is_refused_with_its_key(value: Any) -> None:
    with pytest.raises(ConfigError, match="routes: '/x/': "):
        routes({"/x/": value})


def test_a_path_of_slashes_costs_no_more_than_another() -> None:
    tried: list[str] = []

    class Trees(dict[str, Handler]):
        def get(self, key: str, default: Any = None) -> Any:
            tried.append(key)
            return super().get(key, default)

    handler: Any = routes({"/": named("site"), "/api/": named("api"), "/web/": named("web")})
    handler._trees = Trees(handler._trees)
    ask(handler, "/" * 30_000)
    assert [len(key) for key in tried] == [5, 1]

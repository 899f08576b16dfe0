"""Keys of routes with parameters: which one matches, and the values that its handler gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.apps.routes import routes
from allcomers.apps.web import Web
from allcomers.errors import ConfigError
from allcomers.protocol.message import Handler, Request, Response

ID = "6f1c7c3e-0a57-4a3b-9a39-3f4f6f3f2a10"


def named(name: str) -> Handler:
    def handler(request: Request) -> Response:
        assert request.prefix + request.path == Request(method="GET", target=request.target).path
        return Response(f"{name} {dict(request.params)} {request.path}".encode())

    return handler


KEYS = (
    "/", "/users/me", "/users/{id:int}", "/users/{name}", "/users/{id:int}/posts/{slug}", "/users/{name}/",
    "/k/{k:uuid}", "/k/{k}", "/files/{path:path}", "/files/list", "/a/{x}/c", "/a/b/{y}",
)  # fmt: skip
SITE = routes({key: named(key) for key in KEYS})


@pytest.mark.parametrize(
    ("target", "saw"),
    [
        ("/users/me", "/users/me {} /users/me"),
        ("/users/7", "/users/{id:int} {'id': 7} /users/7"),
        ("/users/007", "/users/{id:int} {'id': 7} /users/007"),
        ("/users/-7", "/users/{name} {'name': '-7'} /users/-7"),
        ("/users/%D9%A7", "/users/{name} {'name': '\u0667'} /users/\u0667"),  # a digit, but none of ASCII
        ("/users/" + "9" * 19, f"/users/{{name}} {{'name': '{'9' * 19}'}} /users/{'9' * 19}"),
        ("/users/Ada%20L", "/users/{name} {'name': 'Ada L'} /users/Ada L"),
        ("/users/7/posts/x?q=1", "/users/{id:int}/posts/{slug} {'id': 7, 'slug': 'x'} /users/7/posts/x"),
        ("/users/7/posts/", "/users/{name}/ {'name': '7'} /posts/"),
        ("/users/Ada/posts/x", "/users/{name}/ {'name': 'Ada'} /posts/x"),
        ("/users/Ada/", "/users/{name}/ {'name': 'Ada'} /"),
        ("/users/", "/ {} /users/"),
        ("/users//", "/ {} /users//"),
        (f"/k/{ID}", f"/k/{{k:uuid}} {{'k': UUID('{ID}')}} /k/{ID}"),
        (f"/k/{ID}0", f"/k/{{k}} {{'k': '{ID}0'}} /k/{ID}0"),
        ("/files/list", "/files/list {} /files/list"),
        ("/files/a/b//c", "/files/{path:path} {'path': 'a/b//c'} /files/a/b//c"),
        ("/files/a%2Fb", "/files/{path:path} {'path': 'a/b'} /files/a/b"),
        ("/files/", "/ {} /files/"),
        ("/a/b/c", "/a/b/{y} {'y': 'c'} /a/b/c"),  # from the left, a literal comes first
        ("/a/x/c", "/a/{x}/c {'x': 'x'} /a/x/c"),
        ("/a/x/d", "/ {} /a/x/d"),
    ],
)
def test_the_key_that_matches(target: str, saw: str) -> None:
    assert SITE(Request(method="GET", target=target)).body.decode() == saw


def test_the_order_of_the_table_decides_nothing() -> None:
    backwards = routes({key: named(key) for key in reversed(KEYS)})
    for target in ("/users/7", "/users/me", "/a/b/c", f"/k/{ID}", "/files/list"):
        request = Request(method="GET", target=target)
        assert backwards(request).body == SITE(Request(method="GET", target=target)).body


class Users(Web):
    def get(self, request: Request) -> dict[str, Any]:
        return dict(request.params)

    def post(self, request: Request) -> None: ...


def test_what_does_not_match_is_404_and_a_method_that_is_missing_405() -> None:
    app = routes({"/users/{id:int}": Users})
    assert app(Request(method="GET", target="/users/Ada")).status == 404
    assert app(Request(method="GET", target="/users/7/x")).status == 404
    assert app(Request(method="OPTIONS", target="*")).status == 204
    response = app(Request(method="DELETE", target="/users/7"))
    assert (response.status, ("Allow", "GET, HEAD, POST, OPTIONS") in response.headers) == (405, True)


def test_a_folder_gets_its_slash() -> None:
    app = routes({"/users/{name}/": Users, "/": named("root")})
    response = app(Request(method="GET", target="/users/%ff%5Cevil.com?q"))
    assert (response.status, dict(response.headers)["Location"]) == (307, "/users/%FF%5Cevil.com/?q")
    assert app(Request(method="GET", target="//evil.com")).status == 200  # no segment is empty


def test_parameters_of_routes_within_routes() -> None:
    app = routes({"/{shop}/": routes({"/items/{id:int}": Users})})
    response = app(Request(method="GET", target="/berlin/items/3"))
    assert response.body == b'{"shop":"berlin","id":3}'


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["/{a}", "/{b}"], "'/{b}' and '/{a}' match the same paths"),
        (["/{a}/x/{b:int}/", "/{c}/x/{d:int}/"], "match the same paths"),
        (["/{a:path}", "/{b:path}"], "match the same paths"),
        (["/{a:path}/b"], "goes on after a parameter of the type path"),
        (["/{a:path}/"], "goes on after a parameter of the type path"),
        (["/x{a}"], "a parameter is a whole segment"),
        (["/{a-b}"], "a parameter is a whole segment"),
        (["/{a"], "a parameter is a whole segment"),
        (["/{a:float}"], "type is int, uuid, str or path, not float"),
        (["/{a}/{a}"], "two parameters called 'a'"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_when_it_is_loaded(keys: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match="routes: ") as caught:
        routes({key: named(key) for key in keys})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text("/a7{}b%", max_size=40))
def test_no_path_breaks_it(path: str) -> None:
    response = SITE(Request(method="GET", target="/" + path.replace("%", "%25")))
    assert response.status in (200, 307)


def test_a_long_path_takes_no_longer() -> None:
    table = {"/" + "/".join([f"{{a{at}}}" if bits >> at & 1 else "x" for at in range(6)]): Users for bits in range(64)}
    assert routes(table)(Request(method="GET", target="/x" * 30_000)).status == 404

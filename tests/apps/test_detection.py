"""Detection of an app's kind: apps of real frameworks, and callables of all shapes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import allcomers
from allcomers import Request, Response, Service, Site, Web
from allcomers.apps.asgi.asgi2 import single
from allcomers.apps.detection import _is_async, _parameters_of, detect
from allcomers.apps.loading import load
from allcomers.config.options import Config
from allcomers.errors import AppError


def kind(target: Any, **options: Any) -> str:
    name, found = detect(target, Config(**options))
    assert options.get("factory") or found is target
    return name


def refused(target: Any, **options: Any) -> str:
    with pytest.raises(AppError) as caught:
        detect(target, Config(**options))
    message = str(caught.value)
    assert "\n" not in message
    return message


# ------------------------------------------------------------ real frameworks


def flask() -> Any:
    import flask

    return flask.Flask(__name__)


def flask_behind_a_proxy() -> Any:
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.middleware.proxy_fix import ProxyFix

    return ProxyFix(DispatcherMiddleware(flask(), {"/x": flask()}))


def bottle() -> Any:
    import bottle

    return bottle.Bottle()


def falcon() -> Any:
    import falcon

    return falcon.App()


def falcon_async() -> Any:
    import falcon.asgi

    return falcon.asgi.App()


def django() -> Any:
    from django.core.handlers.wsgi import WSGIHandler

    return WSGIHandler.__new__(WSGIHandler)  # to make one whole needs settings; to look at one does not


def django_async() -> Any:
    from django.core.handlers.asgi import ASGIHandler

    return ASGIHandler.__new__(ASGIHandler)


def django_static() -> Any:
    from django.contrib.staticfiles.handlers import StaticFilesHandler

    return StaticFilesHandler.__new__(StaticFilesHandler)


def starlette() -> Any:
    from starlette.applications import Starlette

    return Starlette()


def starlette_wrapped() -> Any:
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(starlette())


def starlette_class() -> Any:
    from starlette.endpoints import HTTPEndpoint

    return HTTPEndpoint


def fastapi() -> Any:
    import fastapi

    return fastapi.FastAPI()


def from_wsgi_to_asgi() -> Any:
    from asgiref.wsgi import WsgiToAsgi

    return WsgiToAsgi(flask())


def validator() -> Any:
    from wsgiref.validate import validator

    return validator(flask())


@pytest.mark.parametrize("make", [flask, flask_behind_a_proxy, bottle, falcon, django, django_static, validator])
def test_wsgi_frameworks(make: Callable[[], Any]) -> None:
    assert kind(make()) == "wsgi"


@pytest.mark.parametrize(
    "make", [falcon_async, django_async, starlette, starlette_wrapped, starlette_class, fastapi, from_wsgi_to_asgi]
)
def test_asgi_frameworks(make: Callable[[], Any]) -> None:
    assert kind(make()) == "asgi"


@pytest.mark.parametrize(("make", "name"), [(flask, "wsgi"), (fastapi, "asgi")])
def test_a_factory(make: Callable[[], Any], name: str) -> None:
    found = detect(make, Config(factory=True))
    assert found[0] == name
    assert type(found[1]).__module__.partition(".")[0] == make.__name__
    assert (
        refused(make) == f"{make.__name__} needs no arguments and seems to be a factory: add --factory, which calls it"
    )


# ------------------------------------------------------------ WSGI


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return []


def other_names(env: Any, respond: Any, *, debug: bool = False) -> list[bytes]:
    return []


def more_than_two(environ: Any, start_response: Any, path: str = "/") -> list[bytes]:
    return []


def all_by_default(environ: Any = None, start_response: Any = None) -> list[bytes]:
    return []


def generator(environ: Any, start_response: Any) -> Iterator[bytes]:
    yield b""


class Caller:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    def method(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    @staticmethod
    def static(environ: Any, start_response: Any) -> list[bytes]:
        return []

    @classmethod
    def of_class(cls, environ: Any, start_response: Any) -> list[bytes]:
        return []


class OfThePep:
    """PEP 3333: an instance for each request."""

    def __init__(self, environ: Any, start_response: Any) -> None:
        self.environ = environ

    def __iter__(self) -> Iterator[bytes]:
        yield b""


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **keywords: Any) -> Any:
        return function(*args, **keywords)

    return wrapper


class Middleware:
    def __init__(self, app: Any) -> None:
        functools.update_wrapper(self, app)
        self.app = app

    def __call__(self, *args: Any) -> Any:
        return self.app(*args)


@pytest.mark.parametrize(
    "app",
    [
        wsgi, other_names, more_than_two, all_by_default, generator, Caller(), Caller().method, Caller.static,
        Caller.of_class, OfThePep, decorated(wsgi), decorated(decorated(wsgi)), Middleware(wsgi),
        functools.partial(more_than_two, path="/x"), functools.partial(lambda x, environ, start_response: [], 1),
        lambda e, s: [], functools.lru_cache(wsgi),
    ],
)  # fmt: skip
def test_wsgi(app: Any) -> None:
    assert kind(app) == "wsgi"


# ------------------------------------------------------------ ASGI


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


async def asgi_of_other_names(s: Any, r: Any, w: Any) -> None: ...


async def asgi_of_any(*args: Any) -> None: ...


async def asgi_by_default(scope: Any, receive: Any = None, send: Any = None) -> None: ...


def asgi_by_a_plain_function(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    return asgi(scope, receive, send)


class AsyncCaller:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...


class AsyncAny:
    async def __call__(self, *args: Any) -> None: ...


@pytest.mark.parametrize(
    "app",
    [
        asgi, asgi_of_other_names, asgi_of_any, asgi_by_default, asgi_by_a_plain_function, AsyncCaller(),
        AsyncCaller().method, AsyncAny(), decorated(asgi), Middleware(asgi), lambda a, b, c: asgi(a, b, c),
        functools.partial(asgi), functools.partial(asgi_of_any),
    ],
)  # fmt: skip
def test_asgi(app: Any) -> None:
    assert kind(app) == "asgi"


class Double:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None: ...


class DoubleOfOtherNames:
    def __init__(self, what: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


def double(scope: Any) -> Any:
    return Double(scope)


class Router:
    def __call__(self, scope: Any) -> Any:
        return Double(scope)


@pytest.mark.parametrize("app", [Double, DoubleOfOtherNames, double, Router(), functools.partial(double)])
def test_asgi_of_two_calls(app: Any) -> None:
    assert kind(app) == "asgi2"


def test_two_calls_become_one() -> None:
    sent: list[Any] = []

    class Legacy:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        async def __call__(self, receive: Any, send: Any) -> None:
            await send((self.scope, await receive()))

    async def receive() -> str:
        return "message"

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}}
    asyncio.run(single(Legacy)(scope, receive, send))  # type: ignore[arg-type]
    assert sent == [({"type": "http", "asgi": {"version": "2.0", "spec_version": "2.4"}}, "message")]
    assert scope["asgi"]["version"] == "3.0", "the server may use it again"  # type: ignore[index]


# ------------------------------------------------------------ our own


class Hello(Web):
    def get(self, request: Request) -> str:
        return "Hello"


class Echo(Service): ...


def handler(request: Request) -> Response:
    return Response()


def test_our_own(tmp_path: Path) -> None:
    for target in (
        Hello,
        Hello(),
        handler,
        lambda anything: Response(),
        allcomers.routes({"/": Hello}),
        Site(str(tmp_path)),
    ):
        assert kind(target) == "web"
    assert kind(Echo) == "service"
    assert kind(decorated(handler)) == "web"


def test_the_examples() -> None:
    assert kind(load("examples/guestbook.py")) == "web"
    assert kind(load("examples/echo.py:Echo")) == "service"


def test_a_factory_of_our_own() -> None:
    assert kind(lambda: Hello, factory=True) == "web"
    assert kind(lambda: Echo, factory=True) == "service"
    assert detect(Hello, Config(factory=True))[0] == "web"


# ------------------------------------------------------------ what is none of these


class Plain: ...


class Later:
    def __init__(self, size: int) -> None: ...

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


class Unreadable:
    """A callable without a signature, as many are in C."""

    __signature__ = "none"

    def __call__(self) -> None: ...


async def one_argument(request: Any) -> None: ...


async def async_wsgi(environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (5, "5 cannot be served; an app is a Web or a Service class, a callable that takes a Request, a WSGI app"),
        (None, "None cannot be served"),
        ("text" * 100, "cannot be served"),
        ({}, "an instance of builtins.dict cannot be served"),
        (functools, "the module functools cannot be served"),
        (Plain(), f"an instance of {__name__}.Plain cannot be served"),
        (Plain, "Plain is a class but no Web, no Service, and not called for each request: an app is"),
        (Caller, "no Web, no Service, and not called for each request: name an instance of it, or add --factory"),
        (Later, "not called for each request: name an instance of it"),
        (dict, "dict is a class but no Web"),
        (Echo(), f"an instance of {__name__}.Echo is made already: name the class"),
        (lambda: None, "<lambda> needs no arguments and seems to be a factory: add --factory, which calls it"),
        (lambda config=None: None, "and seems to be a factory"),
        (lambda a, b, c, d: None, "takes a, b, c, d, as no kind of app does"),
        (lambda a, *, b: None, "needs the keyword argument 'b', which no server gives"),
        (one_argument, "one_argument is async and takes request: an ASGI app takes scope, receive and send"),
        (async_wsgi, "async_wsgi is async and takes environ, start_response: an ASGI app takes"),
        (Unreadable(), f"the arguments of an instance of {__name__}.Unreadable cannot be read: say which"),
        (max, "the arguments of max cannot be read: say which it is with --interface"),
    ],
)  # fmt: skip
def test_what_cannot_be_served(target: Any, says: str) -> None:
    message = refused(target)
    assert says in message
    assert len(message) < 400


def test_what_the_operator_says_counts() -> None:
    assert kind(lambda *args: []) == "wsgi"  # a wrapper that hides its app
    assert kind(wsgi, interface="asgi") == "asgi"
    assert kind(max, interface="asgi2") == "asgi2"
    assert kind(Hello, interface="web") == "web"
    assert refused(5, interface="wsgi").startswith("--interface wsgi: 5 cannot be served")
    assert refused(wsgi, interface="service") == "--interface service needs a subclass of allcomers.Service, not wsgi"


class Strict:
    def __init__(self) -> None:
        raise OSError("full")


async def async_factory() -> None: ...


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (wsgi, "--factory calls TARGET without arguments, and wsgi needs some (environ, start_response): if it"),
        (flask(), "an instance of flask.app.Flask needs some (environ, start_response): if it is the app itself"),
        (lambda *, key: None, "needs some"),
        (5, "--factory calls TARGET, and 5 cannot be called: leave --factory out"),
        (async_factory, "async_factory is async: a factory is a plain def"),
        (Strict, "calling the factory Strict failed: OSError: full"),
        (lambda: None, "None cannot be served"),
        (lambda: flask, "flask needs no arguments and seems to be a factory"),
    ],
)  # fmt: skip
def test_what_is_no_factory(target: Any, says: str) -> None:
    assert says in refused(target, factory=True)


def test_nothing_is_called_to_find_out() -> None:
    called = []

    class App:
        def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
            called.append(1)
            return []

    kind(App())
    kind(lambda scope: called.append(1))
    assert not called


async def async_generator(a: Any) -> AsyncIterator[int]:
    yield a


async def coroutine(a: Any, b: Any, c: Any = None) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        lambda: 0, lambda a, b: 0, lambda a, b=1: 0, lambda a, /, b=1, *c, d, e=2, **f: 0, lambda *a: 0, lambda **a: 0,
        lambda *, a, b=1: 0, lambda a=1, *b: 0, lambda a: (lambda c: a + c), coroutine, async_generator,
    ],
)  # fmt: skip
def test_a_plain_function_says_itself_what_inspect_would_say(function: Any) -> None:
    said = _parameters_of(function), _is_async(function)
    function.marked = True  # so that inspect is asked
    assert (_parameters_of(function), _is_async(function)) == said

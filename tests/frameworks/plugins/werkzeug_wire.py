"""werkzeug's test client, and so Flask's, over sockets: each request goes to a server."""

from __future__ import annotations

import http.client
import io
import itertools
import ssl
import tempfile
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

import _pytest.monkeypatch
import pytest
import werkzeug.test
import wire
from werkzeug.datastructures import Headers

_serial = itertools.count(1)
_MARK = "HTTP_" + wire.MARK.upper().replace("-", "_")
_SERVERS_OWN = ("date", "server", "connection", "transfer-encoding")


@cache
def _certificate() -> tuple[str, ssl.SSLContext]:
    return wire.certificate(tempfile.mkdtemp(prefix="wire-"))


class Recorder:
    """A WSGI app around another, which keeps the exception of each call.

    A test client's environ has values that no wire carries, such as functions: the call finds them here.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.extras: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, wire.Call] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        name = environ.pop(_MARK, "")
        environ.update(self.extras.get(name, {}))
        call = self.calls[name] = wire.Call()
        try:
            body = self._app(environ, start_response)
        except BaseException as error:
            call.error = error
            call.ended.set()
            raise
        return _Body(body, call)


class _Body:
    def __init__(self, body: Any, call: wire.Call) -> None:
        self._body = body
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception as error:
            self._call.error = error
            raise

    def close(self) -> None:
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        except BaseException as error:
            self._call.error = self._call.error or error
            raise
        finally:
            self._call.ended.set()


class Stage:
    """The servers of an app, by (TLS, where it is mounted)."""

    def __init__(self, app: Any) -> None:
        self.recorder = Recorder(app)
        self._servers: dict[tuple[bool, str], wire.ThreadServer] = {}

    def server(self, secure: bool, mount: str) -> wire.ThreadServer:
        if (secure, mount) not in self._servers:
            options: dict[str, Any] = {"certfile": (_certificate()[0],)} if secure else {}
            server = wire.ThreadServer(self.recorder, interface="wsgi", root_path=mount, **options)
            server.start()
            self._servers[secure, mount] = server
        return self._servers[secure, mount]

    def stop(self) -> None:
        for server in self._servers.values():
            server.stop()


_stages: dict[int, Stage] = {}
_open: list[http.client.HTTPConnection | http.client.HTTPResponse] = []

_WIRED = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL")
_WIRED += ("REQUEST_URI", "RAW_URI", "CONTENT_TYPE", "CONTENT_LENGTH", "REMOTE_ADDR", "REMOTE_PORT")


def _is_extra(key: str) -> bool:
    return key not in _WIRED and not key.startswith(("HTTP_", "wsgi."))


def _fields(environ: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Host", environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    for key, value in environ.items():
        if key.startswith("HTTP_") and key not in ("HTTP_HOST", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
            yield key[5:].replace("_", "-").title(), str(value)
    if environ.get("CONTENT_TYPE"):
        yield "Content-Type", environ["CONTENT_TYPE"]


def run_wsgi_app(app: Any, environ: Any, buffered: bool = False) -> Any:
    """Do as werkzeug.test.run_wsgi_app, by way of a server."""
    original = werkzeug.test._get_environ(environ)
    environ = original.copy()
    stage = _stages.setdefault(id(app), Stage(app))
    name = str(next(_serial))
    stage.recorder.extras[name] = {key: value for key, value in environ.items() if _is_extra(key)}
    secure = environ["wsgi.url_scheme"] == "https"
    server = stage.server(secure, environ.get("SCRIPT_NAME", "").rstrip("/"))
    kind: Any = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(*server.address, timeout=wire.PATIENCE, **({"context": _certificate()[1]} if secure else {}))
    _open.append(connection)
    body = environ["wsgi.input"].read()
    original["wsgi.input"] = io.BytesIO(body)  # a redirect asks again with it
    target = quote(environ.get("PATH_INFO", "/").encode("latin-1"), safe="/:@!$&'()*+,;=~") or "/"
    query = environ.get("QUERY_STRING", "")
    try:
        connection.putrequest(
            environ["REQUEST_METHOD"],
            target + ("?" + query if query else ""),
            skip_host=True,
            skip_accept_encoding=True,
        )
        for field in _fields(environ):
            connection.putheader(*field)
        connection.putheader(wire.MARK, name)
        if body or environ.get("CONTENT_LENGTH"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        _open.append(response)
    except (OSError, http.client.HTTPException):
        _raise(stage, name)
        raise
    if response.status == 500 and (call := stage.recorder.calls.get(name)) and call.ended.wait(1.0) and call.error:
        raise call.error
    headers = Headers([pair for pair in response.getheaders() if pair[0].lower() not in _SERVERS_OWN])
    pieces = _pieces(stage, name, response)
    return (list(pieces) if buffered else pieces), f"{response.status} {response.reason}", headers


def _pieces(stage: Stage, name: str, response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while piece := response.read1(65536):
            yield piece
    except (OSError, http.client.HTTPException):
        _raise(stage, name)
        raise
    _raise(stage, name)


def _raise(stage: Stage, name: str) -> None:
    error = wire.finished(stage.recorder.calls.get(name), 2.0)
    if error is not None:
        raise error


werkzeug.test.run_wsgi_app = run_wsgi_app

if not hasattr(_pytest.monkeypatch, "notset"):  # Flask's conftest was written for a pytest that calls it so
    _pytest.monkeypatch.notset = _pytest.monkeypatch.NOTSET  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _stages_end() -> Iterator[None]:
    yield
    for one in _open:
        one.close()
    _open.clear()
    stages = list(_stages.values())
    _stages.clear()
    for stage in stages:
        stage.stop()

"""environ: the description of a request for a WSGI app (PEP 3333, "environ Variables").

This file makes each entry. `app` calls the app and handles its result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from allcomers.protocol import compiled
from allcomers.protocol.compiled import Server
from allcomers.protocol.head import Fields, remember
from allcomers.protocol.message import Request
from allcomers.protocol.tls.info import TlsInfo
from allcomers.system.native.primitives import Lock

Environ: TypeAlias = dict[str, Any]
"""A dict of str keys; CGI's have str values, those that start with "wsgi." have values of many types."""

_UNPREFIXED: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}

_DROPPED: Final = frozenset((b"proxy", b"transfer-encoding"))
"""HTTP_PROXY is a setting to many HTTP clients (https://httpoxy.org). The body is no longer in chunks, and
CONTENT_LENGTH has its length: waitress does the same."""

_LONGEST_KEY: Final = 64

DISCONNECTED: Final = "allcomers.disconnected"
"""A function that a call which lasts may ask: see Request.disconnected."""

known_keys: dict[bytes, str] = {}
"""Results of key_of()."""


def key_of(name: bytes) -> str:
    """Return the key of a field's name, b"User-Agent" → "HTTP_USER_AGENT"; "" for a field hidden from apps."""
    lower = name.lower()
    key = _UNPREFIXED.get(lower) or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if lower in _DROPPED:
        key = ""
    if len(name) <= _LONGEST_KEY:
        remember(known_keys, name, key)
    return key


def latin(text: str) -> str:
    """Return `text` as PEP 3333 has it: its bytes in UTF-8, each as the character of the same number."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def tls_variables(info: TlsInfo) -> dict[str, str]:
    """Return the entries of a connection with TLS, by mod_ssl's names; the dict stays the connection's.

    SSL_CLIENT_VERIFY is "NONE" or "SUCCESS": a client whose certificate is not good gets no connection.
    """
    if info.environ is None:
        made = {"SSL_PROTOCOL": info.version, "SSL_CIPHER": info.cipher, "SSL_CLIENT_VERIFY": "NONE"}
        if info.client_chain:
            made["SSL_CLIENT_VERIFY"] = "SUCCESS"
            made["SSL_CLIENT_CERT"] = info.client_chain[0]
            if info.client_name is not None:
                made["SSL_CLIENT_S_DN"] = latin(info.client_name)
        info.environ = made
    return info.environ


class Environs:
    """Makes the environ of each request.

    root_path     the path where the app is mounted, decoded: SCRIPT_NAME. It is removed from a path that starts with
                  it; any other path stays, for some proxies remove it themselves
    multithread   the app may be called while another call of it runs in this process
    multiprocess  ... in another process
    file_wrapper  for wsgi.file_wrapper
    """

    __slots__ = ("_root", "_template", "_templates")

    def __init__(
        self,
        *,
        root_path: str = "",
        multithread: bool = False,
        multiprocess: bool = False,
        file_wrapper: type,
    ) -> None:
        root = latin(root_path).strip("/")
        self._root = f"/{root}" if root else ""
        self._templates: dict[Server | None, Environ] = {}
        self._template: Environ = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": self._root,
            "PATH_INFO": "",
            "QUERY_STRING": "",
            "REQUEST_URI": "",
            "RAW_URI": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_SOFTWARE": "allcomers",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": None,
            "wsgi.errors": ErrorStream(),
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": file_wrapper,
            DISCONNECTED: None,
        }

    @property
    def templates(self) -> dict[Server | None, Environ] | None:
        """The common entries of requests, by listener; None where the app is mounted below the root.

        A Unix socket is not in it: the compiled leaf leaves its requests to __call__()."""
        return None if self._root else self._templates

    # PERF: a template that is copied, remembered names: 3.1 µs for a browser's ten fields (bench/request/micro.py)
    def __call__(self, request: Request) -> Environ:
        """Return the environ of `request`, whose body is at its start."""
        server = request.server
        environ = (self._templates.get(server) or self._template_of(server)).copy()
        target = request.target
        path, _, query = target.partition("?")
        environ["REQUEST_METHOD"] = request.method
        if request.prefix:
            environ["SCRIPT_NAME"] = self._root + latin(request.prefix)
            environ["PATH_INFO"] = latin(request.path)
        else:
            environ["PATH_INFO"] = self._below_root(path)
        if request.params:  # https://wsgi.readthedocs.io/en/latest/specifications/routing_args.html
            environ["wsgiorg.routing_args"] = (), dict(request.params)
        environ["QUERY_STRING"] = query
        environ["REQUEST_URI"] = environ["RAW_URI"] = target
        environ["SERVER_PROTOCOL"] = f"HTTP/{request.version}"
        environ["REMOTE_ADDR"] = request.peer
        if request.port:
            environ["REMOTE_PORT"] = str(request.port)
        environ["wsgi.url_scheme"] = scheme = request.scheme
        if scheme == "https":
            environ["HTTPS"] = "on"  # PEP 3333 asks for what Apache has
        if request.tls is not None:
            environ.update(tls_variables(request.tls))
        environ["wsgi.input"] = stream = request.stream
        environ[DISCONNECTED] = request.disconnected
        if request.lines is None:
            _add(environ, request.fields)
        else:
            compiled.add_to_environ(environ, request.lines, known_keys, key_of)
        if request.chunked:
            environ["CONTENT_LENGTH"] = str(stream.seek(0, 2))
            stream.seek(0)
        if server is None or server[1] is None:  # a Unix socket has no port: Host stands for it, as under gunicorn
            environ["SERVER_NAME"], environ["SERVER_PORT"] = _name_and_port(request.host or "localhost", scheme)
        return environ

    def _template_of(self, server: Server | None) -> Environ:
        """Return the common entries of all requests at the listener `server`."""
        if server is None or server[1] is None:
            return self._template  # and none in `templates`: each request has a name and a port of its own
        host, port = server
        template = self._template.copy()
        template["SERVER_NAME"] = f"[{host}]" if ":" in host else host  # RFC 3875, 4.1.14
        template["SERVER_PORT"] = str(port)
        remember(self._templates, server, template)
        return template

    def _below_root(self, path: str) -> str:
        """Return PATH_INFO for the path of a target."""
        if "%" in path:
            from urllib.parse import unquote_to_bytes  # late, as in message.py

            path = unquote_to_bytes(path).decode("latin-1")
        root = self._root
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
            return path[len(root) :]
        return "" if path == "*" else path  # OPTIONS *: the server as a whole, which is the app


def _add(environ: Environ, fields: Fields) -> None:
    for name, value in fields:
        key = known_keys.get(name)
        if key is None:
            key = key_of(name)
        if key in environ:
            environ[key] = _joined(key, environ[key], value)
        elif key:
            environ[key] = value.decode("latin-1").rstrip(" \t")


def _joined(key: str, text: str, value: bytes) -> str:
    """Join a repeated field (RFC 9110, 5.3; RFC 6265, 5.4)."""
    separator = "; " if key == "HTTP_COOKIE" else ", "
    return text + separator + value.decode("latin-1").rstrip(" \t")


def _name_and_port(host: str, scheme: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, ""
    return name, str(int(port)) if port else "443" if scheme == "https" else "80"


class ErrorStream:
    """wsgi.errors: the server's standard error, for any number of threads; each write() is flushed whole."""

    def __init__(self) -> None:
        self._lock = Lock()

    def write(self, text: str) -> int:
        stream = sys.stderr
        if stream is None:  # started without one
            return len(text)
        with self._lock:
            count = stream.write(text)
            stream.flush()
        return count

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Flush nothing: write() holds no text back."""

"""The scope that an ASGI app gets of a request (ASGI, HTTP & WebSocket Message Format, "Connection scope")."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from allcomers.protocol import compiled
from allcomers.protocol.message import PREFIX, TLS, Request
from allcomers.protocol.tls.info import TlsInfo

Scope: TypeAlias = dict[str, Any]
"""As the specification has it: str keys, values of many types."""

VERSION: Final = {"version": "3.0", "spec_version": "2.3"}
"""Of HTTP. From 2.4 on send() raises once the client has gone, as it does here; but a framework that reads 2.4 waits
for that alone, and then never ends a stream that has nothing to send (starlette.responses.StreamingResponse)."""

_WEBSOCKET_VERSION: Final = {"version": "3.0", "spec_version": "2.4"}

HTTP_EXTENSIONS: Final = ("http.response.early_hint", "http.response.trailers")
"""The extensions that are offered: no framework uses them unless the app does."""

FILE_EXTENSIONS: Final = ("http.response.pathsend", "http.response.zerocopysend")
"""Extensions that frameworks use by themselves where they are offered, and that most middlewares do not know."""

_TLS_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
"""By OpenSSL's names (RFC 5246, appendix E.1; RFC 8446, 4.2.1)."""

_SCHEMES: Final = {"http": "ws", "https": "wss"}


def http_scope(
    request: Request, root_path: str, state: dict[str, Any] | None, extensions: tuple[str, ...] = HTTP_EXTENSIONS
) -> Scope:
    """Return the scope of an HTTP request. `state` is the lifespan's, of which each request gets a shallow copy."""
    scope = _scope("http", request, root_path, state)
    scope["asgi"] = VERSION.copy()
    scope["method"] = request.method
    scope["extensions"] = {name: {} for name in extensions}
    if request.tls is not None:
        add_tls(scope, request.tls)
    return scope


def websocket_scope(request: Request, root_path: str, state: dict[str, Any] | None, subprotocols: list[str]) -> Scope:
    """Return the scope of a WebSocket, for the request of its handshake and the subprotocols that this offers."""
    scope = _scope("websocket", request, root_path, state)
    scope["asgi"] = _WEBSOCKET_VERSION.copy()
    scope["scheme"] = _SCHEMES[request.scheme]
    scope["subprotocols"] = subprotocols
    scope["extensions"] = {"websocket.http.response": {}}
    if request.tls is not None:
        add_tls(scope, request.tls)
    return scope


def add_tls(scope: Scope, info: TlsInfo) -> None:
    """Add the extension "tls" (ASGI TLS Extension, "TLS Connection Scope") to those of `scope`.

    `client_cert_error` is always None: a client whose certificate is not good gets no connection.
    """
    if info.extension is None:
        info.extension = {
            "server_cert": info.server_cert,
            "client_cert_chain": info.client_chain,
            "client_cert_name": info.client_name,
            "client_cert_error": None,
            "tls_version": _TLS_VERSIONS.get(info.version),
            "cipher_suite": info.cipher_suite,
        }
    scope["extensions"]["tls"] = info.extension.copy()
    scope[TLS] = info


def _scope(kind: str, request: Request, root_path: str, state: dict[str, Any] | None) -> Scope:
    raw_path, _, query = request.target.partition("?")
    path = raw_path
    if "%" in path:
        from urllib.parse import unquote  # late, as in message.py

        path = unquote(path)  # no UTF-8 becomes U+FFFD: apps encode it again
    if request.lines is not None:
        headers = compiled.scope_headers(request.lines)
    else:
        headers = [(name.lower(), value.rstrip(b" \t")) for name, value in request.fields]
    mounted = root_path
    more: Scope = {}
    if request.prefix:  # what is no UTF-8 is U+FFFD there, too
        mounted += request.prefix.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        more[PREFIX] = request.prefix
    if request.params:
        if request.route:
            more["path_template"] = request.route  # Litestar's name
        more["path_params"] = dict(request.params)  # where Starlette has those of its own routes, too
    scope: Scope = {
        "type": kind,
        "http_version": request.version,
        "scheme": request.scheme,
        "path": root_path + path,
        "raw_path": raw_path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": mounted,
        "headers": headers,
        "client": (request.peer, request.port) if request.peer else None,
        "server": request.server,
        **more,
    }
    if state is not None:
        scope["state"] = state.copy()
    return scope

"""Templates of routes, as frameworks tell them in an ASGI scope or a WSGI environ:

FastAPI, Starlette   scope["route"], with the root_path at which it is mounted
Litestar             scope["path_template"]; and a Web class in `routes`, the key that has parameters
Flask                environ["werkzeug.request"].url_rule, until its response has begun
Bottle               environ["bottle.route"]
Django               its resolver, which is asked once more
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

Template: TypeAlias = Callable[[dict[str, Any]], str]
"""Return the template that a scope or an environ has matched; "" where it tells none."""


def of_app(app: object) -> Template:
    """Return what tells the templates of this app."""
    return _django(app) or _of_either


def _of_either(place: dict[str, Any]) -> str:
    return _of_scope(place) if "type" in place else _of_environ(place)


def _of_environ(environ: dict[str, Any]) -> str:
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None) or environ.get("bottle.route")
    found = getattr(rule, "rule", "")
    return f"{environ.get('SCRIPT_NAME', '')}{found}" if found and isinstance(found, str) else ""


def _of_scope(scope: dict[str, Any]) -> str:
    route = scope.get("route")
    found = getattr(route, "path_format", None)
    if isinstance(found, str) and hasattr(route, "endpoint"):  # a Mount has none
        return f"{scope.get('root_path', '').rstrip('/')}{found}"
    found = scope.get("path_template")
    return found if isinstance(found, str) else ""


def _django(app: object) -> Template | None:
    """Return what asks Django's resolver for `app`; None for an app that is not Django's own handler."""
    if not type(app).__module__.startswith("django.core.handlers."):
        return None
    urls: Any = sys.modules["django.urls"]

    def template(place: dict[str, Any]) -> str:
        prefix = place.get("root_path") or place.get("SCRIPT_NAME") or ""
        path = place["path"].removeprefix(prefix) if "path" in place else _decoded(place["PATH_INFO"])
        try:
            return f"{prefix}/{urls.resolve(path or '/').route}"
        except urls.Resolver404:
            return ""

    return template


def _decoded(path_info: str) -> str:
    return path_info.encode("latin-1").decode(errors="replace")

"""The page of --debug: the traceback of a failed call, in the place of the usual 500.

Only a browser of this machine gets it: a peer on the loopback interface, by a loopback name, and through no proxy that
says so. A name that leads here (DNS rebinding), and a proxy of this machine, would else show it to others. The page has
the lines of the app's source, and no values of variables: these may be secrets.
"""

from __future__ import annotations

import traceback
from html import escape
from typing import Final

from allcomers.apps.loading import own_traceback
from allcomers.config.checks import is_loopback
from allcomers.protocol.message import Request, Response

_OF_PROXIES: Final = ("forwarded", "via", "x-real-ip", "x-forwarded-")
"""Beginnings of the names of fields that proxies add."""

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem; color-scheme: light dark; }}
pre {{ font: 14px/1.5 ui-monospace, monospace; overflow-x: auto; padding: 1rem; border: 1px solid #8886; }}
</style>
<h1>{title}</h1>
<p>{request}</p>
<pre>{text}</pre>
<p>Shown by --debug, to this machine alone.</p>
</html>
"""

_FIELDS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)


def page(error: BaseException, request: Request) -> Response | None:
    """Return the response with the traceback of `error`: HTML for a browser, else plain text. None where its client may
    not see it."""
    if not _is_local(request):
        return None
    text = own_traceback(error) or "".join(traceback.format_exception(error))
    if "text/html" in request.headers.get("accept", ""):
        title = traceback.format_exception_only(error)[0].splitlines()[0]
        kind, text = (
            "html",
            _PAGE.format(title=escape(title), request=escape(f"{request.method} {request.target}"), text=escape(text)),
        )
    else:
        kind = "plain"
    fields = [("Content-Type", f"text/{kind}; charset=utf-8"), *_FIELDS]
    return Response(text.encode("utf-8", "replace"), status=500, headers=fields)


def _is_local(request: Request) -> bool:
    host = request.host
    name = host if host.endswith("]") else host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    has_passed = any(field.startswith(_OF_PROXIES) for field in request.headers)
    return is_loopback(request.peer) and is_loopback(name) and not has_passed

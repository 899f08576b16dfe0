"""The bytes of each request, made once, before the first is due."""

from __future__ import annotations

from typing import Final

from allcomers.commands.load.data.plan import Destination, Plan
from allcomers.protocol.encode import request_head
from allcomers.protocol.http2.blocks import request_block

BROWSER: Final = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "none"),
)
"""The header fields beside Host that a browser sends with a page's first request."""

_WITH_BODY: Final = ("POST", "PUT", "PATCH")


def requests(plan: Plan, destination: Destination) -> list[bytes]:
    """Return all requests, which are sent in turn; for HTTP/2 their header blocks."""
    if plan.is_raw:
        return [plan.body]
    targets = plan.targets or (destination.path,)
    if plan.http2:
        host, fields = _host(plan, destination), _fields(plan, len(plan.body))
        return [request_block(plan.method, plan.scheme, host, target, fields) for target in targets]
    return [head(plan, destination, target) + plan.body for target in targets]


def head(plan: Plan, destination: Destination, target: str, length: int | None = None) -> bytes:
    """Return a request head; its body has `length` bytes, or is the plan's."""
    fields = _fields(plan, len(plan.body) if length is None else length)
    if not plan.keep_alive:
        fields.append(("Connection", "close"))
    return request_head(plan.method, target, _host(plan, destination), fields)


def _host(plan: Plan, destination: Destination) -> str:
    return next((value for name, value in plan.headers if name.lower() == "host"), destination.authority)


def _fields(plan: Plan, length: int) -> list[tuple[str, str]]:
    given = {name.lower() for name, _ in plan.headers}
    fields = [field for field in BROWSER if plan.browser and field[0].lower() not in given]
    fields += [field for field in plan.headers if field[0].lower() != "host"]
    if length or plan.method in _WITH_BODY:
        fields.append(("Content-Length", str(length)))
    return fields

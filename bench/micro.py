"""What the small steps of a request cost, in µs: `python bench/micro.py`. The best of five, so noise only adds.

Not a benchmark of the server: it backs the PERF comments of handlers/ and accesslog.py.
"""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable

from allcomers.accesslog import FORMATS, AccessLog
from allcomers.handlers.routes import routes
from allcomers.handlers.web import Web
from allcomers.protocol.message import Request, Response

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
COUNT = 100_000


def cost(step: Callable[[], object]) -> float:
    return min(timeit.repeat(step, number=COUNT, repeat=5)) / COUNT * 1e6


def show(name: str, microseconds: float) -> None:
    print(f"{name:<40} {microseconds:6.2f} µs")


class Hello(Web):
    def get(self, request: Request) -> str:
        return "Hello, world!"

    def post(self, request: Request) -> dict[str, str]:
        return {"hello": "world"}


def web() -> None:
    hello = Hello()
    get, post = Request(method="GET", target="/"), Request(method="POST", target="/")
    get.path = post.path = "/"
    show("a method's own call", cost(lambda: hello.get(get)))
    show("Response(bytes, headers=[one])", cost(lambda: Response(b"", headers=[("Content-Type", "text/html")])))
    show("Web, str", cost(lambda: hello(get)))
    show("Web, dict", cost(lambda: hello(post)))


def routed() -> None:
    handler = routes({"/": Hello, "/exact": Hello, **{f"/api/{n}/": Hello for n in range(30)}})
    request = Request(method="GET", target="/")

    def answer(path: str) -> None:
        request.path, request.prefix = path, ""
        handler(request)

    for path in ("/exact", "/api/7/items/3", "/other/page.html"):
        show(f"33 routes and Web, {path}", cost(lambda: answer(path)))  # noqa: B023


def access_log() -> None:
    null = os.open("/dev/null", os.O_WRONLY)
    show("write(2) to /dev/null", cost(lambda: os.write(null, b"x" * 230)))
    for fmt in FORMATS:
        for name, agent in (("as it is", CHROME), ("escaped", CHROME + '"\x1b')):
            show(f"access log to /dev/null, {fmt}, {name}", cost(logging(AccessLog("/dev/null", fmt), agent)))


def logging(log: AccessLog, agent: str) -> Callable[[], object]:
    return lambda: log.log(
        when=1.7e9,
        peer="127.0.0.1",
        method="GET",
        target="/a/b?c=d",
        version="HTTP/1.1",
        status=200,
        sent=13,
        seconds=0.00123,
        host="example.org:8000",
        referer="https://example.org/some/page?x=1",
        agent=agent,
    )


if __name__ == "__main__":
    web()
    routed()
    access_log()

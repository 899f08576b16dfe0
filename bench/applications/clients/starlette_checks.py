"""Checks of the Starlette application."""

from __future__ import annotations

from common import client, echo, equal, gzipped, in_pieces, until, visits


def check_session(url: str) -> None:
    visits(url)


def check_gzip(url: str) -> None:
    gzipped(url, "/text")


def check_cors(url: str) -> None:
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "PUT"}
    with client(url) as http:
        answer = http.options("/text", headers=headers)
        equal(answer.headers["access-control-allow-origin"], "https://example.org")


def check_trusted_host(url: str) -> None:
    with client(url) as http:
        equal(http.get("/version", headers={"Host": "evil.example"}).status_code, 400)


def check_static(url: str) -> None:
    with client(url) as http:
        answer = http.get("/static/page.js")
        equal(answer.text, "// a script\n" * 2000)
        again = http.get("/static/page.js", headers={"If-None-Match": answer.headers["etag"]})
        equal(again.status_code, 304)


def check_download(url: str) -> None:
    with client(url, headers={"Accept-Encoding": "identity"}) as http:
        equal(http.get("/download").content, bytes(range(256)) * 8192)
        part = http.get("/download", headers={"Range": "bytes=256-511"})
        equal((part.status_code, part.content), (206, bytes(range(256))))


def check_stream(url: str) -> None:
    in_pieces(url, "/stream", 20)


def check_middleware(url: str) -> None:
    with client(url) as http:
        equal(http.get("/version").headers["x-app"], "timed")


def check_background(url: str) -> None:
    with client(url) as http:
        equal(http.get("/background").text, "soon")
        until(lambda: http.get("/done").json(), "the background task")


def check_error(url: str) -> None:
    with client(url) as http:
        equal(http.get("/fails").status_code, 500)
    with client(url) as http:  # the connection of before may be closed
        equal(http.get("/version").status_code, 200)


def check_echo(url: str) -> None:
    echo(url)

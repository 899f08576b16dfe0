"""Web classes with async methods: what they return, under models with a loop and without, and beside plain ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from allcomers.apps.web import Web, is_async
from allcomers.protocol.message import Request, Response
from support.certificates import Certificate
from support.harness import Server, serving, wait_for

APP = "tests/support/apps/web_app.py:"


def client_of(server: Server, scheme: str = "http", **options: object) -> httpx.Client:
    return httpx.Client(base_url=f"{scheme}://127.0.0.1:{server.address[1]}", timeout=40, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["asyncio", "epoll", "epoll-et", "select", "thread", "process", "iterative"])
def test_what_async_methods_return(model: str) -> None:
    with serving("run", APP + "asynchronous", "-m", model) as server, client_of(server) as client:
        response = client.get("/")
        assert (response.text, response.headers["content-type"]) == ("text", "text/html; charset=utf-8")
        assert client.get("/7?kind=dict").json() == {"params": {"id": 7}, "body": ""}
        assert client.request("GET", "/?kind=dict", content=b"x" * 9).json()["body"] == "x" * 9
        assert client.get("/?kind=nothing").status_code == 204
        response = client.get("/?kind=stream")
        assert (response.status_code, response.text, response.headers["x-kind"]) == (201, "one two", "stream")
        assert (response := client.patch("/")).text == "patched"
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert client.patch("/?missing").status_code == 404
        assert client.get("/?kind=missing").text == "not there\n"
        assert client.get("/?kind=file").content == Path("tests/support/apps/web_app.py").read_bytes()
        assert client.get("/?kind=trailers").text == "ab"
        response = client.head("/?kind=stream")
        assert (response.status_code, response.text) == (201, "")
        assert client.head("/").headers["content-length"] == "4"
        assert client.post("/", content=b"x" * 700_000).text == "plain 700000"
        assert client.put("/").text == "plain stream"
        assert client.get("/plain").text == "plain beside"
        response = client.delete("/")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST, PUT, PATCH, OPTIONS")


def test_a_failure_is_a_500_and_a_traceback_in_the_log() -> None:
    with serving("run", APP + "asynchronous", quiet=False) as server, client_of(server) as client:
        assert client.get("/?kind=fault").text == "Internal Server Error\n"
        wait_for(lambda: "RuntimeError: a fault" in server.stderr, "the traceback")
        assert client.get("/").text == "text"


@pytest.mark.parametrize("model", ["asyncio", "thread"])
def test_a_file_of_an_async_method_is_compressed(model: str) -> None:
    with serving("run", APP + "asynchronous", "-m", model, "--compress") as server, client_of(server) as client:
        response = client.get("/?kind=file", headers={"Accept-Encoding": "gzip"})
        assert response.content == Path("tests/support/apps/web_app.py").read_bytes()


@pytest.mark.parametrize("model", ["asyncio", "poll"])
def test_calls_that_wait_overlap_on_the_loop(model: str) -> None:
    async def both(url: str) -> list[str]:
        async with httpx.AsyncClient(timeout=40) as client:
            return [one.text for one in await asyncio.gather(client.get(url), client.get(url))]

    with serving("run", APP + "asynchronous", "-m", model) as server:
        assert asyncio.run(both(f"http://127.0.0.1:{server.address[1]}/?kind=slow")) == ["both", "both"]


@pytest.mark.parametrize("app", ["forms", "asynchronous"])
def test_cookies_are_secure_under_tls(app: str, certificate: Certificate) -> None:
    with (
        serving("run", APP + app, "--certfile", str(certificate.pem)) as server,
        client_of(server, "https", verify=certificate.trusted) as client,
    ):
        assert client.get("/cookies", headers={"Cookie": "a=1"}).text == "{'a': '1'}"
        assert client.get("/cookies").headers.get_list("set-cookie") == [
            "seen=yes; Path=/; SameSite=Lax; HttpOnly; Secure",
            "old=; Max-Age=0; Path=/; SameSite=Lax; HttpOnly; Secure",
        ]


@pytest.mark.parametrize("app", ["forms", "asynchronous"])
def test_cookies_are_secure_where_a_trusted_proxy_says_so(app: str) -> None:
    with serving("run", APP + app, "--forwarded-allow-ips", "*") as server, client_of(server) as client:
        by_tls = client.get("/cookies", headers={"X-Forwarded-Proto": "https"})
        assert by_tls.headers.get_list("set-cookie")[0] == "seen=yes; Path=/; SameSite=Lax; HttpOnly; Secure"
        assert client.get("/cookies").headers.get_list("set-cookie")[0] == "seen=yes; Path=/; SameSite=Lax; HttpOnly"


class Mixed(Web):
    async def get(self, request: Request) -> str:
        return "async"

    def post(self, request: Request) -> str:
        return "plain"


def test_it_can_be_called_without_a_server() -> None:
    async def awaited() -> Response:
        return await Mixed()(Request(method="GET", target="/"))  # type: ignore[misc]

    assert asyncio.run(awaited()).body == b"async"
    assert Mixed()(Request(method="POST", target="/")).body == b"plain"


def test_a_class_is_async_where_a_method_is() -> None:
    class Below(Mixed):
        def get(self, request: Request) -> str:  # type: ignore[override]
            return "plain"

    assert is_async(Mixed())
    assert not is_async(Below())
    assert Below()(Request(method="GET", target="/")).body == b"plain"

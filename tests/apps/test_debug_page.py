"""--debug: the traceback of a failed call in the browser, for this machine alone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from allcomers.apps import debug_page
from allcomers.config.options import make
from allcomers.errors import ConfigError
from allcomers.protocol.message import Request
from support.harness import chosen, serving

APPS = """
from allcomers import Web

class Own(Web):
    def get(self, request):
        secret = "hunter2" + "!"
        raise ValueError(f"<script>{request.args['x']}</script>")

class Async(Web):
    async def get(self, request):
        secret = "hunter2" + "!"
        raise ValueError(f"<script>{request.args['x']}</script>")

def wsgi(environ, start_response):
    secret = "hunter2" + "!"
    raise ValueError("<script>&</script>")

def joined():
    import allcomers
    return allcomers.routes({"/none/": asgi, "/": wsgi})

async def asgi(scope, receive, send):
    secret = "hunter2" + "!"
    raise ValueError("<script>&</script>")
"""

MODELS = ("epoll", "asyncio", "thread")
KINDS = [
    ("Own", "epoll"),
    ("Async", "asyncio"),
    ("wsgi", "thread"),
    ("wsgi", "epoll"),
    ("asgi", "asyncio"),
    ("asgi", "thread"),
    ("joined", "asyncio"),
    ("joined", "thread"),
]


@pytest.mark.parametrize(("app", "model"), chosen(KINDS, [(app, model) for app, _ in KINDS for model in MODELS]))
@pytest.mark.parametrize("pure", ["", "1"])
def test_a_browser_of_this_machine_sees_the_traceback(app: str, model: str, pure: str, tmp_path: Path) -> None:
    (tmp_path / "apps.py").write_text(APPS)
    options = ["run", f"{tmp_path}/apps.py:{app}", "-m", model, "--lifespan", "off", "--debug"]
    options += ["--factory"] if app == "joined" else []
    with serving(*options, quiet=False, env={"ALLCOMERS_PURE": pure}) as server, httpx.Client(timeout=40) as client:
        url = f"http://{server.address[0]}:{server.address[1]}/?x=%26"
        response = client.get(url, headers={"Accept": "text/html,*/*"})
        assert (response.status_code, response.headers["content-type"]) == (500, "text/html; charset=utf-8")
        assert "raise ValueError" in response.text
        assert "&lt;script&gt;&amp;&lt;/script&gt;" in response.text
        assert "<script" not in response.text
        assert "hunter2!" not in response.text  # no values
        assert "allcomers" not in response.text.partition("<pre>")[2].partition("</pre>")[0]  # its frames alone
        response = client.get(url)
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert "ValueError: <script>&</script>" in response.text
        for field in (
            "X-Forwarded-For: 1.2.3.4",
            "Forwarded: for=1.2.3.4",
            "Via: 1.1 x",
            "X-Real-IP: 1.2.3.4",
            "Host: evil.org",
        ):
            name, _, value = field.partition(": ")
            assert client.get(url, headers={name: value}).text == "Internal Server Error\n"


def test_without_it_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "apps.py").write_text(APPS)
    with serving("run", f"{tmp_path}/apps.py:Own", quiet=False) as server:
        response = httpx.get(f"http://{server.address[0]}:{server.address[1]}/?x", headers={"Accept": "text/html"})
        assert response.text == "Internal Server Error\n"


@pytest.mark.parametrize(
    ("peer", "host", "shown"),
    [
        ("127.0.0.1", "localhost:8000", True),
        ("127.1.2.3", "app.localhost", True),
        ("::1", "[::1]:8000", True),
        ("::1", "[::1]", True),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "localhost.evil.org", False),
        ("127.0.0.1", "[evil.org", False),
        ("10.0.0.1", "localhost", False),
        ("", "localhost", False),
    ],
)
def test_who_sees_it(peer: str, host: str, shown: bool) -> None:
    request = Request(method="GET", target="/", peer=peer, host=host)
    assert (debug_page.page(ValueError("x"), request) is not None) is shown


@pytest.mark.parametrize(
    "options",
    [
        {"bind": ["0.0.0.0:80"]},
        {"bind": ["127.0.0.1:80", "192.168.0.1:80"]},
        {"bind": ["unix:/tmp/x"]},
        {"bind": ["fd://3"]},
        {"bind": [":80"]},
        {"forwarded_allow_ips": "127.0.0.1"},
        {"proxy_protocol": "on"},
    ],
)
def test_it_is_refused_where_others_could_connect(options: dict[str, str | list[str]]) -> None:
    with pytest.raises(ConfigError, match="--debug shows tracebacks"):
        make({"debug": "on", **options})


@pytest.mark.parametrize("address", ["127.0.0.1:80", "[::1]:80", "localhost:80"])
def test_it_is_taken_on_this_machine(address: str) -> None:
    assert make({"debug": "on", "bind": [address]}).debug

"""The modules loaded from exec to the first response: start-up time is a feature, and a review misses one more import.

`python -m bench startup` has the times.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from support.harness import ask, serving

IMPORT = re.compile(r"^import time:[ \d|]+\| +(\S+)$", re.MULTILINE)  # a line of -X importtime

UNWANTED = {
    *("email", "http.client", "http.server", "importlib.metadata", "json", "multiprocessing", "tempfile", "tomllib"),
    *("importlib.resources", "pickle", "random", "shutil", "unittest", "urllib.request", "websockets", "zipfile"),
}
"""What nothing of ours needs until it is asked for something."""

ASYNC_ONLY = {"asyncio", "concurrent.futures", "dataclasses", "inspect", "ssl", "subprocess"}
"""What asyncio brings, and nothing else may: dataclasses has inspect, and that ast and dis. (Before Python 3.13 logging
itself brings tokenize: by traceback and linecache.)"""

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


APPS = """
from allcomers import Web

class Page(Web):
    def get(self, request):
        return b"Hello"

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello"]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("there is none")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Hello"})
"""


@pytest.mark.parametrize("name", ["", "Page", "wsgi", "asgi"])
def test_nothing_is_loaded_that_the_first_answer_does_not_need(tmp_path: Path, name: str) -> None:
    (tmp_path / "apps.py").write_text(APPS)
    (tmp_path / "index.html").write_text("Hello")
    command = ("run", f"apps.py:{name}") if name else ("serve",)
    with serving(*command, cwd=tmp_path, before=(sys.executable, "-X", "importtime")) as server:
        assert ask(server, GET).endswith(b"Hello")
        imported = set(IMPORT.findall(server.stderr))
    assert {"allcomers.commands.main", "allcomers.server.endpoint"} <= imported  # of the supervisor, and of the worker
    unwanted = UNWANTED if name == "asgi" else UNWANTED | ASYNC_ONLY
    if sys.version_info >= (3, 13):  # before, pathlib itself brings them
        unwanted = unwanted | {"ipaddress", "urllib.parse"}
    if sys.version_info >= (3, 14):  # logging itself brings them, by traceback and _colorize
        unwanted = unwanted - {"dataclasses", "inspect"}
    assert imported & unwanted == set()


COLLECTED = """
import gc
from allcomers import Response

loaded = gc.isenabled()
if {disables}:
    gc.disable()

def app(request):
    return Response(f"{{loaded}} {{gc.isenabled()}}".encode())
"""


@pytest.mark.parametrize("disables", [False, True])
def test_an_app_finds_the_collector_on_and_may_turn_it_off(tmp_path: Path, disables: bool) -> None:
    (tmp_path / "app.py").write_text(COLLECTED.format(disables=disables))
    with serving("run", "app.py:app", cwd=tmp_path) as server:
        assert ask(server, GET).endswith(f"True {not disables}".encode())

"""Compression beside what else a server does: TLS, streams that are ended, threads, and clients as people have them."""

from __future__ import annotations

import gc
import gzip
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import allcomers
from support.apps import compressed_app
from support.apps.compressed_app import Script
from support.certificates import Certificate
from support.clients import Client, request
from support.harness import serving, wait_for
from support.staged import listens_no_more
from support.wires import TlsWire, Wire

from .conftest import decoded

APP = "tests/support/apps/compressed_app.py:app"
DATA = json.dumps([{"id": number, "name": f"name {number}"} for number in range(300)])
SCRIPT = Script("whole", [(DATA, 1)], [("Content-Type", "application/json")], declared=0)


@pytest.mark.parametrize("secrets", [False, True])
def test_answers_with_secrets_over_tls(certificate: Certificate, secrets: bool) -> None:
    options = ["--compress", *(["--compress-secrets"] if secrets else [])]
    with (
        serving("run", APP, "--certfile", str(certificate.pem), *options) as server,
        Client(TlsWire(server.address, certificate.trusted)) as client,
    ):
        for field, is_coded in (("X-A: b", True), ("Cookie: a=b", secrets), ("Authorization: Basic YTpi", secrets)):
            answer = client.ask(request("GET", SCRIPT.target(), "Accept-Encoding: gzip", field))
            assert (answer["Content-Encoding"] == "gzip") is is_coded
            assert answer["Vary"] == "Accept-Encoding"
            assert decoded(answer) == DATA.encode()


@pytest.mark.parametrize(
    ("app", "model", "calls"),
    [
        ("app", "thread", "inline"),
        ("app", "epoll", "inline"),
        ("asgi", "asyncio", "inline"),
        ("Web", "epoll", "inline"),
    ],
)
def test_a_stream_of_events_ends_when_the_server_leaves(app: str, model: str, calls: str, tmp_path: Path) -> None:
    words = ("run", f"tests/support/apps/events_app.py:{app}", "-m", model, "--calls", calls, "--compress")
    with serving(*words) as server, Client(Wire(server.address)) as client:
        client.send(request("GET", f"/events?note={tmp_path / 'notes'}", "Accept-Encoding: gzip"))
        head = client.head()
        assert head["Content-Encoding"] == "gzip"
        server.send(15)
        wait_for(lambda: listens_no_more(server), "the order to arrive")
        events = gzip.decompress(client.body(head))  # with its end
        assert set(events.split(b"\n\n")) == {b"data: now", b""}
        client.ends()


def test_no_thread_stays() -> None:
    before = {one.ident for one in threading.enumerate()}
    script = Script("whole", [(DATA, 20)], [("Content-Type", "application/json")])
    for _ in range(3):
        with allcomers.Server(compressed_app.asgi, port=0, compress=True) as server:
            assert server.port
            answer = httpx.get(f"{server.url}{script.target()}")
            assert answer.headers["Content-Encoding"] in ("zstd", "gzip")
            assert answer.content == script.body()
    wait_for(lambda: {one.ident for one in threading.enumerate()} <= before, "the threads to end")
    gc.collect()  # a server's pipes are in a circle: other tests count descriptors


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
def test_others_are_served_while_a_large_body_is_coded(model: str) -> None:
    """A thread codes it: an async app's loop goes on."""
    app = "tests/support/apps/compressed_app.py:asgi"
    large = Script("whole", [(DATA, 3000)], [("Content-Type", "application/json")])  # 30 MB
    small = Script("whole", [("hello", 1)])
    with (
        serving("run", app, "-m", model, "--compress") as server,
        Client(Wire(server.address)) as client,
        Client(Wire(server.address)) as other,
    ):
        client.send(request("GET", large.target(), "Accept-Encoding: br"))
        answers = 0
        arrived = threading.Event()

        def receive() -> None:
            answer = client.answer()
            arrived.set()
            assert decoded(answer) == large.body()

        thread = threading.Thread(target=receive)
        thread.start()
        while not arrived.is_set() and answers < 3:
            assert other.ask(request("GET", small.target())).status == 200
            answers += 1
        assert answers == 3
        thread.join()


@pytest.mark.parametrize("how", ["whole", "pieces"])
@pytest.mark.parametrize(("app", "model"), [("app", "epoll"), ("asgi", "asyncio"), ("asgi", "thread")])
def test_a_client_that_leaves_is_no_fault(app: str, model: str, how: str) -> None:
    large = Script(how, [("What is said once is said again. ", 30_000)] * 5)
    with serving("run", f"tests/support/apps/compressed_app.py:{app}", "-m", model, "--compress") as server:
        for _ in range(5):
            with Client(Wire(server.address)) as client:
                client.send(request("GET", large.target(), "Accept-Encoding: gzip"))
        with Client(Wire(server.address)) as client:
            assert decoded(client.ask(request("GET", large.target(), "Accept-Encoding: gzip"))) == large.body()
        assert "Traceback" not in server.stderr


@pytest.mark.parametrize("app", ["app", "asgi", "handler"])
def test_clients_as_people_have_them(app: str) -> None:
    with serving("run", f"tests/support/apps/compressed_app.py:{app}", "--compress") as server:
        url = "http://{}:{}".format(*server.address)
        for how in ("whole", "pieces"):
            script = Script(how, [(DATA, 1)], [("Content-Type", "application/json")])
            with httpx.Client() as client:
                answer = client.get(url + script.target())
                assert (answer.headers["Content-Encoding"], answer.text) == ("zstd", DATA)
            if curl := shutil.which("curl"):
                got: Any = subprocess.run([curl, "-sS", "--compressed", url + script.target()], capture_output=True)
                assert (got.stdout, got.stderr) == (DATA.encode(), b"")

"""allcomers dev: an app that is served while it is written."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest

from allcomers.commands.main import main
from support.harness import serving, wait_for

APP = """
import allcomers

class App(allcomers.Web):
    def get(self, request):
        {body}
"""


def test_a_change_is_served_and_a_failure_seen(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP.format(body="raise ValueError('first')"))
    with serving("dev", "app.py:App", cwd=tmp_path, quiet=False) as server, httpx.Client() as client:
        url = f"http://{server.address[0]}:{server.address[1]}/"
        assert "ValueError: first" in client.get(url).text
        app.write_text(APP.format(body="return 'second'"))
        wait_for(lambda: httpx.get(url).text == "second", "the change to be served")


def test_options_of_run_override_its_own(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.format(body="raise ValueError('first')"))
    options = ("--no-reload", "--no-debug", "--workers", "2")
    with serving("dev", "app.py:App", *options, cwd=tmp_path, quiet=False) as server:
        wait_for(lambda: len(server.workers()) == 2, "two workers")
        assert httpx.get(f"http://{server.address[0]}:{server.address[1]}/").text == "Internal Server Error\n"


def test_tls_is_a_certificate_made_here(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.format(body="return 'hello'"))
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    with serving("dev", "app.py:App", "--tls", cwd=tmp_path, env=env, quiet=False) as server:
        trusted = ssl.create_default_context(cafile=tmp_path / "allcomers" / "localhost.pem")
        assert httpx.get(f"https://localhost:{server.address[1]}/", verify=trusted).text == "hello"


def test_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dev", "--help"]) == 0
    assert "usage: allcomers dev TARGET" in capsys.readouterr().out

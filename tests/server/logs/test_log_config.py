"""--log-config: the operator's configuration holds in the supervisor and in the workers, and cannot silence either."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.harness import PATIENCE, ask, serving, wait_for

APP = """
import logging

def app(environ, start_response):
    logging.getLogger("shop").info("sold")
    raise RuntimeError("on purpose")
"""

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

INI = """
[loggers]
keys = root, ours
[handlers]
keys = file
[formatters]
keys = own
[logger_root]
level = INFO
handlers = file
[logger_ours]
level = INFO
qualname = allcomers
propagate = 0
handlers = file
[handler_file]
class = FileHandler
args = ('LOG',)
formatter = own
[formatter_own]
format = OWN %(name)s %(message)s
"""

TABLE = {
    "disable_existing_loggers": True,
    "formatters": {"own": {"format": "OWN %(name)s %(message)s"}},
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "LOG", "formatter": "own"}},
    "loggers": {"allcomers": {"handlers": ["file"], "level": "INFO"}},
    "root": {"handlers": ["file"], "level": "INFO"},
}

TOML = """
disable_existing_loggers = true
formatters.own.format = "OWN %(name)s %(message)s"
handlers.file = { class = "logging.FileHandler", filename = "LOG", formatter = "own" }
loggers.allcomers = { handlers = ["file"], level = "INFO" }
root = { handlers = ["file"], level = "INFO" }
"""

FILES = {"log.ini": INI, "log.json": json.dumps(TABLE), "log.yaml": json.dumps(TABLE), "log.toml": TOML}


def prepared(folder: Path, name: str) -> list[str]:
    (folder / "app.py").write_text(APP)
    (folder / name).write_text(FILES[name].replace("LOG", str(folder / "out.log")))
    return ["run", f"{folder / 'app.py'}:app", "--log-config", str(folder / name)]


@pytest.mark.parametrize("name", FILES)
def test_it_holds_in_supervisor_and_workers(tmp_path: Path, name: str) -> None:
    if name == "log.yaml" and not find_spec("yaml"):
        pytest.skip("PyYAML is not installed")
    with serving(*prepared(tmp_path, name), quiet=False) as server:
        ask(server, GET)
        server.stop()
        written = (tmp_path / "out.log").read_text()
    for line in ("OWN allcomers.supervisor allcomers ", "OWN shop sold", "OWN allcomers.app GET '/' failed"):
        assert line in written
    assert "OWN allcomers.supervisor stopped after " in written
    assert server.reports == []
    assert "INFO" not in server.stderr


def test_loggers_that_it_disables_go_on(tmp_path: Path) -> None:
    arguments = prepared(tmp_path, "log.json")
    (tmp_path / "log.json").write_text('{"disable_existing_loggers": true, "version": 1}')
    with serving(*arguments, quiet=False) as server:
        ask(server, GET)
        wait_for(lambda: "GET '/' failed" in server.stderr, "the worker's entry")
        assert " INFO allcomers " in server.stderr


def test_hup_reads_it_again_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    with serving(*prepared(tmp_path, "log.json"), quiet=False) as server:
        (tmp_path / "log.json").write_text('{"handlers": {"file": {"class": "no.Such"}}}')
        server.send(signal.SIGHUP)
        wait_for(lambda: "--log-config" in server.stderr, "the complaint")
        fresh = json.dumps(TABLE).replace("OWN", "NEW").replace("LOG", str(tmp_path / "out.log"))
        (tmp_path / "log.json").write_text(fresh)
        server.send(signal.SIGHUP)
        wait_for(lambda: "reloaded in" in (tmp_path / "out.log").read_text(), "the reload")

        def new_worker_logs() -> bool:
            ask(server, GET)  # the old one may serve its backlog still
            return "NEW allcomers.app GET" in (tmp_path / "out.log").read_text()

        wait_for(new_worker_logs, "the new worker's entry")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("absent.json", None, "No such file or directory"),
        ("log.json", "[1]", "has no table at its top"),
        ("log.json", "{", "Expecting property name"),
        ("log.toml", "a", "--log-config"),
        ("log.ini", "[a]\n", "an INI file has the section [loggers]"),
        ("log.json", '{"handlers": {"a": {"class": "no.Such"}}}', "Unable to configure handler 'a': Cannot resolve"),
    ],
)
def test_a_bad_one_is_one_line(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    if text is not None:
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "allcomers", "run", "app.py:app", "--log-config", name, "-b", "127.0.0.1:0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line


def test_a_folder_that_is_served_cannot_name_one(tmp_path: Path) -> None:
    """It could name any function to call, in a folder that came from elsewhere."""
    (tmp_path / "allcomers.toml").write_text('log-config = "log.toml"\n')
    command = [sys.executable, "-m", "allcomers", "serve", "-b", "127.0.0.1:0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "it can name code to run" in done.stderr

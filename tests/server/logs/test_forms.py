"""The forms of the server's log: text, with colours on a terminal alone, and JSON, in which nothing can be forged."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from allcomers.server.logs import colours, entry_form
from support.harness import PATIENCE, ROOT, ask, receive_all, serving, wait_for

APP = r"""
TEXT = "one\n2026-11-23T09:11:45.073+00:00 [1] ERROR forged\x1b[2J\udcff"

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError(TEXT)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

GET = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

PLAIN = {"NO_COLOR": "", "FORCE_COLOR": "", "CLICOLOR_FORCE": "", "TERM": "xterm"}


@pytest.fixture
def app(tmp_path: Path) -> str:
    path = tmp_path / "app.py"
    path.write_text(APP)
    return f"{path}:app"


# ------------------------------------------------------------ JSON


def test_each_line_is_an_object(app: str) -> None:
    with serving("run", app, "--log-format", "json", quiet=False) as server:
        ask(server, GET % b"/fail")
        wait_for(lambda: "RuntimeError" in server.stderr, "the entry")
        server.send(signal.SIGHUP)
        wait_for(lambda: "reloaded" in server.stderr, "the reload")
        server.stop()
    entries = [json.loads(line) for line in server.stderr.splitlines()]
    assert server.stderr.isascii()
    assert all({"time", "level", "pid", "logger", "message"} <= entry.keys() for entry in entries)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d", entry["time"]) for entry in entries)
    assert entries[0]["message"].startswith("Listening at: http://")
    (failed,) = [entry for entry in entries if entry["level"] == "ERROR"]
    assert failed["message"] == "GET '/fail' failed"
    assert failed["pid"] != server.pid
    assert failed["exception"].startswith("Traceback")
    assert "ERROR forged\x1b[2J" in failed["exception"]


def test_an_app_that_cannot_be_loaded_is_an_object_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    command = [sys.executable, "-m", "allcomers", "run", "broken.py:app", "--log-format", "json", "-b", "127.0.0.1:0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 3
    (entry,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert "ZeroDivisionError" in entry["message"]
    assert "1 / 0" in entry["exception"]


def test_a_stack_is_a_field_of_its_own() -> None:
    record = logging.LogRecord("allcomers.x", logging.ERROR, "", 0, "at %s", ("\u2028",), None, sinfo="Stack\n  here")
    entry = json.loads(entry_form.JsonFormatter().format(record))
    assert (entry["message"], entry["stack"]) == ("at \u2028", "Stack\n  here")
    assert "exception" not in entry


# ------------------------------------------------------------ colours


@pytest.mark.parametrize(
    ("given", "on_terminal", "in_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": "", "TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colours_are_for_terminals(given: dict[str, str], on_terminal: bool, in_pipe: bool) -> None:
    master, terminal = os.openpty()
    reader, writer = os.pipe()
    try:
        assert colours.wanted(terminal, given) == on_terminal
        assert colours.wanted(writer, given) == in_pipe
    finally:
        for fd in (master, terminal, reader, writer):
            os.close(fd)


def on_a_terminal(app: str, environment: dict[str, str], *arguments: str) -> str:
    """Run a server on a terminal until it has answered three requests; return all that it printed there."""
    master, terminal = os.openpty()
    command = [sys.executable, "-m", "allcomers", "run", app, "-b", "127.0.0.1:0", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal,
        env={**os.environ, **PLAIN, **environment},
    )  # fmt: skip
    os.close(terminal)
    printed = b""

    def read_until(word: bytes) -> None:
        nonlocal printed
        while word not in printed:
            printed += os.read(master, 65536)

    try:
        read_until(b" calls ")
        found = re.search(rb"Listening at: http://127.0.0.1:(\d+)", printed)
        assert found
        for target in (b"/a?200+OK", b"/b?404+Gone", b"/c?503+Busy"):
            with socket.create_connection(("127.0.0.1", int(found[1])), PATIENCE) as sock:
                sock.sendall(GET % target)
                assert b"ok" in receive_all(sock)
        read_until(b"/c?503+Busy")
        process.terminate()
        read_until(b"stopped after")
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(master)
    return printed.decode()


STATUS = """
def app(environ, start_response):
    start_response(environ["QUERY_STRING"].replace("+", " "), [("Content-Length", "2")])
    return [b"ok"]
"""


def test_a_terminal_has_short_lines_in_colour(tmp_path: Path) -> None:
    (tmp_path / "status.py").write_text(STATUS)
    printed = on_a_terminal(f"{tmp_path / 'status.py'}:app", {})
    assert "] \x1b[32mINFO\x1b[0m allcomers " in printed
    for line in (r"32m200\x1b\[0m GET /a\?", r"33m404\x1b\[0m GET /b\?", r"31m503\x1b\[0m GET /c\?"):
        assert re.search(rf"\d\d:\d\d:\d\d \x1b\[{line}\S+ 2 bytes in [\d.]+ ms to 127\.0\.0\.1\r\n", printed), printed


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colours(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "status.py").write_text(STATUS)
    printed = on_a_terminal(f"{tmp_path / 'status.py'}:app", environment)
    assert "\x1b" not in printed
    assert re.search(r"\d\d:\d\d:\d\d 404 GET /b\?404\+Gone 2 bytes in ", printed)


def test_a_chosen_format_is_kept_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "status.py").write_text(STATUS)
    printed = on_a_terminal(f"{tmp_path / 'status.py'}:app", {}, "--access-log-format", "common")
    assert '"GET /a?200+OK HTTP/1.1" 200 2\r\n' in printed


def test_a_pipe_has_no_colours_unless_they_are_forced(app: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serving("run", app, "--access-log", str(log), env=PLAIN) as server:
        ask(server, GET % b"/")
        wait_for(lambda: log.read_text(), "the line")
    assert "\x1b" not in server.stderr
    assert '"GET / HTTP/1.1" 200 2 "-" "-"\n' in log.read_text()  # a file has the format of before
    with serving("run", app, env={**PLAIN, "FORCE_COLOR": "1"}) as server:
        pass
    assert "\x1b[32mINFO\x1b[0m allcomers" in server.stderr

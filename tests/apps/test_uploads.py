"""Forms with files over sockets: sent by curl, under several models, within the limits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.harness import Server, serving, wait_for

APP = "tests/support/apps/web_app.py:"


def curl(url: str, *arguments: str) -> tuple[int, bytes]:
    """Return the status and the body of what curl gets."""
    command = ["curl", "-sS", "--max-time", "40", "-w", "%{stderr}%{http_code}", *arguments, url]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return int(done.stderr[-3:]), done.stdout


def url_of(server: Server, path: str = "/") -> str:
    return f"http://{server.address[0]}:{server.address[1]}{path}"


def temporary_files(server: Server) -> list[str]:
    """Return the temporary files that the workers have open."""
    found = []
    for pid in server.workers():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.append(str(link.readlink()))
    return [name for name in found if name.startswith(tempfile.gettempdir()) and name.endswith("(deleted)")]


@pytest.mark.parametrize(
    ("app", "path", "options"),
    [
        ("forms", "/", ("-m", "epoll")),
        ("forms", "/", ("-m", "thread")),
        ("forms", "/", ("-m", "process")),
        ("asynchronous", "/forms", ("-m", "asyncio")),
        ("asynchronous", "/forms", ("-m", "epoll")),
        ("asynchronous", "/forms", ("-m", "thread-pool")),
    ],
)
def test_curl_sends_files(app: str, path: str, options: tuple[str, ...], tmp_path: Path) -> None:
    small, large = tmp_path / "small.txt", tmp_path / "large.bin"
    small.write_bytes(b"a\r\n--b\n")
    large.write_bytes(os.urandom(3_000_000))
    sent = ["-F", "name=Ada", "-F", "name=ü", "-F", f"f=@{small};filename=../up.txt", "-F", f"g=@{large}"]
    with serving("run", APP + app, *options) as server:
        status, body = curl(url_of(server, path), *sent)
        answer: dict[str, Any] = json.loads(body)
        assert (status, answer["fields"]) == (200, [["name", "Ada"], ["name", "ü"]])
        assert answer["files"] == [
            ["f", "up.txt", "text/plain", 7, hashlib.sha256(small.read_bytes()).hexdigest()],
            ["g", "large.bin", "application/octet-stream", 3_000_000, hashlib.sha256(large.read_bytes()).hexdigest()],
        ]
        assert curl(url_of(server, path), "-X", "PUT", "-F", f"f=@{large}") == (200, large.read_bytes())
        wait_for(lambda: not temporary_files(server), "the temporary files to be closed")


def test_too_much_is_413_and_what_is_malformed_400(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 5000)
    limits = ("--max-file-size", "4K", "--max-form-size", "1K", "--max-form-parts", "4", "--max-form-fields", "3")
    with serving("run", APP + "forms", *limits) as server:
        url = url_of(server)
        assert curl(url, "-F", f"f=@{file}")[0] == 413
        assert curl(url, "-F", f"a=<{file}")[0] == 413
        assert curl(url, *["-F", "a=1"] * 4)[0] == 413
        assert curl(url, *["-F", "a=1;filename=a"] * 5)[0] == 413
        assert curl(url, *["-F", "a=1;filename=a"] * 4)[0] == 200
        with httpx.Client() as client:
            head = {"Content-Type": "multipart/form-data; boundary=x"}
            response = client.post(url, content=b"--x\r\nno head\r\n", headers=head)
            assert (response.status_code, response.text) == (400, "The form is not valid.\n")


def test_without_the_library_a_line_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "multipart.py").write_text("")  # stands before that of site-packages
    with serving("run", APP + "forms", env={"PYTHONPATH": str(tmp_path)}) as server:
        assert curl(url_of(server), "-F", "a=1") == (415, b"This server reads no form of multipart/form-data.\n")
        assert curl(url_of(server), "-F", "a=1")[0] == 415
        wait_for(lambda: "allcomers[forms]" in server.stderr, "the line")
        assert server.stderr.count("pip install 'allcomers[forms]'") == 1


def test_what_uploads_hold_is_bounded_over_all_peers(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 3_000_000)
    with serving("run", APP + "forms", "--max-spool", "4M") as server:
        status, body = curl(url_of(server), "-F", f"f=@{file}")  # the body has room, its file has none beside it
        assert (status, body[:20]) == (503, b"too much is held for")
        wait_for(lambda: not temporary_files(server), "the temporary files to be closed")

"""The access log: its formats, its escapes, and a file that many share and that is taken away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.accesslog import FORMATS, AccessLog, escape
from allcomers.errors import ConfigError

APACHE_DOCS = 971211336.9  # 10 October 2000, 20:55:36 UTC: the line in Apache's manual
ENTRY: dict[str, Any] = {
    "when": APACHE_DOCS,
    "peer": "127.0.0.1",
    "method": "GET",
    "target": "/apache_pb.gif",
    "version": "HTTP/1.0",
    "status": 200,
    "sent": 2326,
    "seconds": 0.0012345678,
}


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets the time zone; POSIX rules, so that no zone file is needed."""

    def choose(rule: str) -> None:
        monkeypatch.setenv("TZ", rule)
        time.tzset()

    yield choose
    monkeypatch.undo()
    time.tzset()


class Logged:
    """An AccessLog on a file, and what it wrote since the last look."""

    def __init__(self, path: Path, fmt: str) -> None:
        self.path, self.said = path, []  # type: tuple[Path, list[str]]
        self.log = AccessLog(str(path), fmt, tell=self.said.append)
        self._file = path.open("rb")

    def new(self) -> bytes:
        return self._file.read()

    def close(self) -> None:
        self.log.close()
        self._file.close()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Logged]]:
    folder = tmp_path_factory.mktemp("logs")
    logs = {fmt: Logged(folder / fmt, fmt) for fmt in FORMATS}
    yield logs
    for logged in logs.values():
        logged.close()


def line_of(path: Path, fmt: str, **changes: Any) -> str:
    log = AccessLog(str(path), fmt)
    log.log(**{**ENTRY, **changes})
    log.close()
    return path.read_text("ascii")


def test_common_is_apaches(tmp_path: Path, zone: Any) -> None:
    zone("PST8PDT,M4.1.0,M10.5.0")
    expected = '127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326\n'
    assert line_of(tmp_path / "log", "common") == expected


def test_combined_is_apaches(tmp_path: Path, zone: Any) -> None:
    zone("PST8PDT,M4.1.0,M10.5.0")
    agent, referer = "Mozilla/4.08 [en] (Win98; I ;Nav)", "http://www.example.com/start.html"
    expected = (
        f'127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "{referer}" "{agent}"\n'
    )
    assert line_of(tmp_path / "log", "combined", agent=agent, referer=referer) == expected


def test_json(tmp_path: Path, zone: Any) -> None:
    zone("IST-5:30")
    line = line_of(tmp_path / "log", "json", host="example.org:8000", agent="x")
    assert json.loads(line) == {
        "time": "2000-10-11T02:25:36+05:30",
        "peer": "127.0.0.1",
        "method": "GET",
        "target": "/apache_pb.gif",
        "version": "HTTP/1.0",
        "status": 200,
        "bytes": 2326,
        "seconds": 0.001235,
        "host": "example.org:8000",
        "referer": "",
        "user_agent": "x",
    }


@pytest.mark.parametrize(
    ("rule", "stamp"),
    [
        ("UTC0", "10/Oct/2000:20:55:36 +0000"),
        ("NST3:30", "10/Oct/2000:17:25:36 -0330"),
        ("LINT-14", "11/Oct/2000:10:55:36 +1400"),
    ],
)
def test_the_offset_of_the_zone(tmp_path: Path, zone: Any, rule: str, stamp: str) -> None:
    zone(rule)
    assert f"[{stamp}]" in line_of(tmp_path / "log", "common")


def test_the_time_moves_on_and_back(tmp_path: Path, zone: Any) -> None:
    zone("UTC0")
    log = AccessLog(str(tmp_path / "log"), "common")
    for when in (APACHE_DOCS, APACHE_DOCS + 0.05, APACHE_DOCS + 0.2, APACHE_DOCS - 3600, 0.0):
        log.log(**{**ENTRY, "when": when})
    log.close()
    stamps = re.findall(r"\[(.*)\]", (tmp_path / "log").read_text())
    assert [stamp[-14:-6] for stamp in stamps] == ["20:55:36", "20:55:36", "20:55:37", "19:55:36", "00:00:00"]


def test_what_is_absent_is_a_dash(tmp_path: Path) -> None:
    line = line_of(tmp_path / "log", "combined", sent=0, peer="")
    assert line.startswith("- - - [")
    assert line.endswith('200 - "-" "-"\n')


def test_escapes_are_apaches() -> None:
    assert escape('a"b\\c\n\r\t\v\b\x1b[2J\x7f\x00\xe9') == r"a\"b\\c\n\r\t\v\b\x1b[2J\x7f\x00\xe9"
    assert escape("\udcff中") == r"\udcff\u4e2d"


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_refused_request_shows_its_first_line(tmp_path: Path, fmt: str) -> None:
    log = AccessLog(str(tmp_path / "log"), fmt)
    for raw in (b'\x16\x03\x01"\n', b""):
        log.refused(when=0.0, peer="::1", line=raw, status=400, sent=0, seconds=0.0)
    log.close()
    first, second = (tmp_path / "log").read_text("ascii").splitlines()
    if fmt == "json":
        assert json.loads(first)["line"] == '\x16\x03\x01"\n'
        assert (json.loads(second)["line"], "method" in json.loads(second)) == ("", False)
    else:
        assert r'"\x16\x03\x01\"\n" 400 -' in first
        assert '] "-" 400 -' in second


WIRE = st.binary(max_size=80).map(lambda data: data.decode("latin-1"))
ANY = WIRE | st.binary(max_size=80).map(lambda data: data.decode("utf-8", "surrogateescape")) | st.text(max_size=80)
ONE_LINE = re.compile(rb"[ -~]+\n")
COMBINED = re.compile(r'(\S*) - - \[[^]"]+\] "((?:[^"\\]|\\.)*)" 200 7 "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"\n')


@pytest.mark.parametrize("fmt", FORMATS)
@given(target=ANY, referer=ANY, agent=ANY, host=ANY)
def test_whatever_a_client_sends_is_one_line_of_printable_ascii(
    logs: dict[str, Logged], fmt: str, target: str, referer: str, agent: str, host: str
) -> None:
    logged = logs[fmt]
    sent = {"target": target, "referer": referer, "agent": agent, "host": host}
    logged.log.log(**{**ENTRY, **sent, "sent": 7})
    line = logged.new()
    assert ONE_LINE.fullmatch(line)
    if fmt == "json":
        read = json.loads(line)
        assert {**sent, "agent": read["user_agent"]} == {name: read.get(name, agent) for name in sent}
    elif fmt == "combined":
        assert COMBINED.fullmatch(line.decode())


@given(target=WIRE, referer=WIRE, agent=WIRE)
def test_an_escaped_field_reads_back_as_it_was_sent(
    logs: dict[str, Logged], target: str, referer: str, agent: str
) -> None:
    logged = logs["combined"]
    logged.log.log(**{**ENTRY, "target": target, "referer": referer, "agent": agent, "sent": 7})
    found = COMBINED.fullmatch(logged.new().decode())
    assert found
    peer, request, *rest = found.groups()
    sent = [f"GET {target} HTTP/1.0", referer or "-", agent or "-"]
    back = [text.replace(r"\v", r"\x0b").encode().decode("unicode_escape") for text in (request, *rest)]
    assert (peer, back) == ("127.0.0.1", sent)


@given(line=st.binary(max_size=200))
@pytest.mark.parametrize("fmt", FORMATS)
def test_any_refused_bytes_are_one_line(logs: dict[str, Logged], fmt: str, line: bytes) -> None:
    logs[fmt].log.refused(when=0.0, peer="::1", line=line, status=400, sent=0, seconds=0.0)
    written = logs[fmt].new()
    assert ONE_LINE.fullmatch(written)
    if fmt == "json":
        assert json.loads(written)["line"].encode("latin-1") == line


# ---------------------------------------------------------------- the file

WRITER = """
import sys
from allcomers.accesslog import AccessLog
log = AccessLog(sys.argv[1], "common")
for number in range(500):
    log.log(when=0.0, peer="p", method="GET", target="/" + sys.argv[2] * 300, version="HTTP/1.1", status=200,
            sent=number, seconds=0.0)
"""


def test_processes_share_a_file_without_mixing_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    lines = path.read_text().splitlines()
    assert len(lines) == 2000
    for line in lines:
        assert re.fullmatch(r'p - - \[[^]]+\] "GET /([abcd])\1{299} HTTP/1.1" 200 (\d+|-)', line)


def test_threads_write_while_the_file_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(str(path), "common")
    threads = [threading.Thread(target=lambda: [log.log(**ENTRY) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        path.rename(tmp_path / f"log.{number}")
        log.reopen()
    for thread in threads:
        thread.join()
    log.close()
    lines = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert (len(lines), len(set(lines)), log.dropped) == (2000, 1, 0)


def test_reopen_follows_the_path_and_keeps_its_descriptor_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(str(path), "common")
    log.log(**ENTRY)
    path.rename(tmp_path / "old")
    log.log(**ENTRY)
    log.reopen()
    log.log(**ENTRY)
    assert (len((tmp_path / "old").read_text().splitlines()), len(path.read_text().splitlines())) == (2, 1)
    assert not os.get_inheritable(log._fd)
    log.close()


def test_a_reopening_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    said: list[str] = []
    log = AccessLog(str(folder / "log"), "common", tell=said.append)
    folder.rename(tmp_path / "gone")
    log.reopen()
    log.log(**ENTRY)
    log.close()
    assert len((tmp_path / "gone" / "log").read_text().splitlines()) == 1
    assert len(said) == 1
    assert "cannot reopen" in said[0]
    assert "No such file" in said[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's full disk")
def test_a_full_disk_costs_lines_and_is_told_once() -> None:
    said: list[str] = []
    log = AccessLog("/dev/full", tell=said.append)
    for _ in range(3):
        log.log(**ENTRY)
    assert (log.dropped, len(said)) == (3, 1)
    assert "No space left" in said[0]
    log.reopen()
    log.log(**ENTRY)
    log.close()
    assert (log.dropped, len(said)) == (4, 2)


def test_a_line_that_was_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    """A file size limit cuts a write short, as the last block of a disk does; then there is room again."""
    code = """
import resource, signal, sys
from allcomers.accesslog import AccessLog
said = []
log = AccessLog(sys.argv[1], "common", tell=said.append)
entry = dict(when=0.0, peer="p", method="GET", version="HTTP/1.1", status=200, sent=1, seconds=0.0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
log.log(target="/first", **entry)
log.log(target="/second", **entry)
log.log(target="/third", **entry)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.log(target="/fourth", **entry)
assert (log.dropped, len(said)) == (2, 1), (log.dropped, said)
"""
    path = tmp_path / "log"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    first, cut, fourth = path.read_text().splitlines()
    assert "/first" in first
    assert len(first) + 1 + len(cut) == 100
    assert fourth.startswith("p - - [")
    assert '"GET /fourth HTTP/1.1" 200 1' in fourth


def test_a_dash_is_standard_output_and_a_closed_pipe_is_told_on_standard_error() -> None:
    code = """
import sys
from allcomers.accesslog import AccessLog
log = AccessLog("-", "common")
entry = dict(when=0.0, peer="p", method="GET", version="HTTP/1.1", status=200, sent=1, seconds=0.0)
log.log(target="/seen", **entry)
log.reopen()
sys.stdin.read()
log.log(target="/lost", **entry)
log.log(target="/lost", **entry)
sys.exit(log.dropped)
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert b'"GET /seen HTTP/1.1" 200 1\n' in process.stdout.readline()
        process.stdout.close()
        process.stdin.close()
        assert process.wait(60) == 2
        told = process.stderr.read().decode().splitlines()
    assert len(told) == 1
    assert "Broken pipe" in told[0]


def test_after_close_a_line_is_dropped(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"), tell=lambda text: None)
    log.close()
    log.close()
    log.log(**ENTRY)
    assert log.dropped == 1


@pytest.mark.parametrize(
    ("path", "says"), [("", "No such file"), ("/", "directory"), ("/no/such/log", "No such file"), ("a\0b", "null")]
)
def test_a_path_that_cannot_be_opened_is_one_clear_line(path: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        AccessLog(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_format_names_the_known() -> None:
    with pytest.raises(ConfigError, match="combined, common, json"):
        AccessLog("-", "apache")


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    AccessLog(str(tmp_path / "log")).close()
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0

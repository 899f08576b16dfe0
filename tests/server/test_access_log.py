"""The access log: its formats, its escapes, and a file that many processes share and that is rotated."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.config.log_format import COMMON, NAMES, escape, read
from allcomers.connection.http.log_record import AccessRecord, line_maker
from allcomers.errors import ConfigError
from allcomers.protocol import compiled
from allcomers.protocol.message import Handler, Request, Response
from allcomers.server.access_log import AccessLog
from support import offline
from support.entries import APACHE_DOCS, Entry
from support.harness import ROOT, ask, receive_all, serving, wait_for

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TESTS = str(ROOT / "tests")


class Logged:
    """An AccessLog on a file, and its lines since the last read."""

    def __init__(self, path: Path, fmt: str) -> None:
        self.path, self.said = path, []  # type: tuple[Path, list[str]]
        self.log = AccessLog(str(path), fmt, warn=self.said.append)
        self._file = path.open("rb")

    def new(self) -> bytes:
        return self._file.read()

    def close(self) -> None:
        self.log.close()
        self._file.close()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Logged]]:
    folder = tmp_path_factory.mktemp("logs")
    logs = {fmt: Logged(folder / fmt, fmt) for fmt in NAMES}
    yield logs
    for logged in logs.values():
        logged.close()


def line_of(path: Path, fmt: str, **changes: Any) -> str:
    log = AccessLog(str(path), fmt)
    log.log(Entry(**changes))
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
    assert line_of(tmp_path / "log", "combined", fields={"user-agent": agent, "referer": referer}) == expected


def test_json(tmp_path: Path, zone: Any) -> None:
    zone("IST-5:30")
    line = line_of(
        tmp_path / "log", "json", host="example.org:8000", fields={"user-agent": "x"}, wait=0.1, app=0.25, write=1.5
    )
    assert json.loads(line) == {
        "time": "2000-10-11T02:25:36+05:30",
        "peer": "127.0.0.1",
        "method": "GET",
        "target": "/apache_pb.gif",
        "version": "HTTP/1.0",
        "status": 200,
        "bytes": 2326,
        "seconds": 0.001235,
        "wait": 0.1,
        "app": 0.25,
        "write": 1.5,
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
        log.log(Entry(when=when))
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


@pytest.mark.parametrize("fmt", NAMES)
def test_a_refused_request_shows_its_first_line(tmp_path: Path, fmt: str) -> None:
    log = AccessLog(str(tmp_path / "log"), fmt)
    for raw in ('\x16\x03\x01"\n', ""):
        log.log(Entry(request_line=("", "", "1.1"), line=raw, status=400, sent=0))
    log.close()
    first, second = (tmp_path / "log").read_text("ascii").splitlines()
    if fmt == "json":
        assert json.loads(first)["line"] == '\x16\x03\x01"\n'
        assert (json.loads(second)["line"], "method" in json.loads(second)) == ("", False)
    elif fmt == "short":
        assert r" 400 \x16\x03\x01\"\n 0 bytes in " in first
        assert " 400 - 0 bytes in " in second
    else:
        assert r'"\x16\x03\x01\"\n" 400 -' in first
        assert '] "-" 400 -' in second


WIRE = st.binary(max_size=80).map(lambda data: data.decode("latin-1"))
ANY = WIRE | st.binary(max_size=80).map(lambda data: data.decode("utf-8", "surrogateescape")) | st.text(max_size=80)
ONE_LINE = re.compile(rb"[ -~]+\n")
COMBINED_LINE = re.compile(r'(\S*) - - \[[^]"]+\] "((?:[^"\\]|\\.)*)" 200 7 "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"\n')


@pytest.mark.parametrize("fmt", NAMES)
@given(target=ANY, referer=ANY, agent=ANY, host=ANY)
def test_whatever_a_client_sends_is_one_line_of_printable_ascii(
    logs: dict[str, Logged], fmt: str, target: str, referer: str, agent: str, host: str
) -> None:
    logged = logs[fmt]
    sent = {"target": target, "referer": referer, "user_agent": agent, "host": host}
    logged.log.log(
        Entry(request_line=("GET", target, "1.0"), host=host, sent=7, fields={"referer": referer, "user-agent": agent})
    )
    line = logged.new()
    assert ONE_LINE.fullmatch(line)
    if fmt == "json":
        found = json.loads(line)
        assert {name: found[name] for name in sent} == sent
    elif fmt == "combined":
        assert COMBINED_LINE.fullmatch(line.decode())


@given(target=WIRE, referer=WIRE, agent=WIRE)
def test_an_escaped_field_reads_back_as_it_was_sent(
    logs: dict[str, Logged], target: str, referer: str, agent: str
) -> None:
    logged = logs["combined"]
    logged.log.log(Entry(request_line=("GET", target, "1.0"), sent=7, fields={"referer": referer, "user-agent": agent}))
    found = COMBINED_LINE.fullmatch(logged.new().decode())
    assert found
    peer, request, *rest = found.groups()
    sent = [f"GET {target} HTTP/1.0", referer or "-", agent or "-"]
    back = [text.replace(r"\v", r"\x0b").encode().decode("unicode_escape") for text in (request, *rest)]
    assert (peer, back) == ("127.0.0.1", sent)


FORMATS = [*NAMES, "%(h)s %(L)s%(T)s %(M)s %(D)s%% %(wait)s %(app)s %(write)s", "%({cookie}i)s %(m)s %(U)s %(host)s"]
FORMATS += ["%({cookie}i)s%(B)s|%(H)s %(full_path)s %(a)s", " ".join(["%(h)s"] * 40), "%({X-No}i)s" * 9]
VALUES = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60) | st.sampled_from(
    ["", "curl/8.5.0", 'an "agent"', "back\\slash\tand\ttabs", "x" * 5000, "twelve bytes \x7f", "\xe9" * 9]
)
SECONDS = st.floats(0, 2e9) | st.floats(0, 10) | st.integers(0, 10**7).map(lambda halves: halves * 5e-7)


@pytest.mark.parametrize("fmt", FORMATS)
@given(
    st.sampled_from(["/", "/a?b=%20", '/"', "/\\"]), st.lists(VALUES, max_size=3), SECONDS, st.integers(0, 2**63 - 1)
)
def test_the_compiled_part_makes_the_lines_of_plain_python(
    fmt: str, target: str, values: list[str], seconds: float, sent: int
) -> None:
    fields = [(b"User-Agent", "the last one wins"), *zip((b"Cookie", b"user-agent", b"Referer"), values, strict=False)]
    lines = b"".join(b"%b: %b\r\n" % (name, value.encode("latin-1")) for name, value in fields)
    head = Request(method="GET", target=target, host="example.org", peer="192.0.2.1")
    del head.fields
    head.lines = lines if compiled.COMPILED else None
    record = AccessRecord(head, ("GET", target, "1.1"), 200, sent, 0.0)
    record.stamp, record.peer, record.line, record.seconds = "now", "192.0.2.1", "", seconds
    record.wait, record.app, record.write = seconds / 3, seconds / 7, 0.0
    found = read(fmt)
    assert line_maker(found)(record) == found.line(record).encode()


@pytest.mark.skipif(not compiled.COMPILED, reason="plain Python keeps no field lines")
def test_lines_of_fields_that_are_kept() -> None:
    hosts: dict[bytes, str] = {b"example.org": "example.org"}
    fields = b"Host: example.org\r\nUser-Agent: %b\r\nReferer: /from\r\nCookie: no\r\n\r\n"
    formats = [read(fmt) for fmt in FORMATS]
    makers = [line_maker(fmt) for fmt in formats]
    for agent in (b"one", b'"two"', b"one") * 3:
        head = Request(method="", target="")
        del head.fields
        assert compiled.read_head(b"GET / HTTP/1.1\r\n" + fields % agent, 10_000, 100, head, hosts)
        record = AccessRecord(head, ("GET", "/", "1.1"), 200, 7, 0.0)
        record.stamp, record.peer, record.line = "now", "192.0.2.1", ""
        record.seconds = record.wait = record.app = record.write = 0.0
        for fmt, maker in zip(formats, makers, strict=True):
            assert maker(record) == fmt.line(record).encode()


@given(line=st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
@pytest.mark.parametrize("fmt", NAMES)
def test_any_refused_bytes_are_one_line(logs: dict[str, Logged], fmt: str, line: str) -> None:
    logs[fmt].log.log(Entry(request_line=("", "", "1.1"), line=line, status=400, sent=0))
    written = logs[fmt].new()
    assert ONE_LINE.fullmatch(written)
    if fmt == "json":
        assert json.loads(written)["line"] == line


# ---------------------------------------------------------------- formats of fields

CREDENTIALS = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # Aladdin:open sesame (RFC 7617, 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("h", "127.0.0.1"), ("l", "-"), ("u", "-"), ("t", "[10/Oct/2000:20:55:36 +0000]"), ("m", "POST"),
        ("r", "POST /a/b?c=d&e HTTP/1.1"), ("U", "/a/b"), ("q", "c=d&e"), ("H", "HTTP/1.1"), ("s", "201"), ("B", "0"),
        ("b", "-"), ("f", "http://r/"), ("a", r"A \"B\""), ("T", "12"), ("M", "12345"), ("D", "12345678"),
        ("L", "12.345678"), ("p", "<PID>"), ("{X-Id}i", "7"), ("{x-id}i", "7"), ("{None}i", "-"),
        ("{Content-Type}o", "text/html"), ("{none}o", "-"),
        ("client_addr", "127.0.0.1"), ("request_line", "POST /a/b?c=d&e HTTP/1.1"), ("status_code", "201 Created"),
        ("method", "POST"), ("full_path", "/a/b?c=d&e"), ("http_version", "1.1"), ("levelname", "INFO"),
        ("levelprefix", "INFO:    "), ("asctime", "2000-10-10 20:55:36,900"), ("process", "PID"),
        ("wait", "0.001000"), ("app", "12.000000"), ("write", "0.300000"), ("host", "example.org"),
    ],
)  # fmt: skip
def test_fields(tmp_path: Path, zone: Any, field: str, value: str) -> None:
    zone("UTC0")
    line = line_of(
        tmp_path / "log", f"%({field})s|%%|%({field})d",
        request_line=("POST", "/a/b?c=d&e", "1.1"), status=201, sent=0,
        seconds=12.345678, wait=0.001, app=12.0, write=0.3,
        host="example.org", fields={"referer": "http://r/", "user-agent": 'A "B"', "x-id": "7"},
        answer_fields={"content-type": "text/html"},
    )  # fmt: skip
    value = value.replace("PID", str(os.getpid()))
    assert line == f"{value}|%|{value}\n"


@pytest.mark.parametrize("field", ["m", "r", "U", "q", "full_path", "f", "u", "{host}i", "host"])
def test_fields_of_a_request_that_was_not_understood(tmp_path: Path, field: str) -> None:
    assert line_of(tmp_path / "log", f"%({field})s %(s)s", request_line=("", "", "1.1"), status=400) == "- 400\n"


@pytest.mark.parametrize(
    ("field", "user"),
    [
        (CREDENTIALS, "Aladdin"),
        ("basic QWxhZGRpbjo=", "Aladdin"),
        ("Basic QWxhZGRpbg==", "Aladdin"),
        ("Basic YSAiYiIKMTI3LjAuMC4xIC0gLTp4", r"a\x20\"b\"\n127.0.0.1\x20-\x20-"),  # a "b" LF 127.0.0.1 - -
        ("Basic w7w6eA==", r"\xc3\xbc"),
        ("Basic OnBhc3N3b3Jk", "-"),
        ("Basic", "-"),
        ("Basic !!!", "-"),
        ("Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "-"),
    ],
)
def test_the_user_is_who_the_client_says_and_one_word(tmp_path: Path, field: str, user: str) -> None:
    assert line_of(tmp_path / "log", "%(u)s", fields={"authorization": field}) == f"{user}\n"
    assert user not in line_of(tmp_path / "log2", "combined", fields={"authorization": field}) or user == "-"


def test_the_formats_that_others_have_by_default(tmp_path: Path, zone: Any) -> None:
    zone("UTC0")
    gunicorn = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
    assert line_of(tmp_path / "1", gunicorn) == line_of(tmp_path / "2", "combined")
    uvicorn = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
    assert line_of(tmp_path / "3", uvicorn) == 'INFO:     127.0.0.1 - "GET /apache_pb.gif HTTP/1.0" 200 OK\n'
    assert line_of(tmp_path / "4", COMMON + "\t%%") == line_of(tmp_path / "5", "common")[:-1] + "\t%\n"


@pytest.mark.parametrize(
    ("fmt", "says"),
    [
        ("%(x)s", "there is no field %(x)s; there are %(h)s, %(l)s"),
        ("%(S)s", "there is no field %(S)s; perhaps %(s)s"),
        ("%(status)s", "perhaps %(status_code)s"),
        ("%(client_adr)s", "perhaps %(client_addr)s"),
        ("%()s", "there is no field %()s"),
        ("%({x}x)s", "there is no field %({x}x)s"),
        ("%({}i)s", "there is no field %({}i)s"),
        ("%({REMOTE_USER}e)s", "the environ is not logged; %({Name}i)s is a header of the request"),
        ("%(h)", "%(h) in '%(h)' must end with s: %(h)s"),
        ("%(h)r", "must end with s"),
        ("%(h)s 100%", "has a % that starts no field; write %% for a percent sign"),
        ("%h %(s)s", "has a % that starts no field"),
        ("%(h)s\n%(r)s", "has characters that are not printable ASCII"),
        ("%(h)s \x1b", "has characters that are not printable ASCII"),
        ("%(h)s é", "has characters that are not printable ASCII"),
        ("apache", "choose one of combined, common, json, short, or give fields as %(h)s"),
    ],
)
def test_a_format_that_cannot_be_read_is_told(fmt: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(fmt)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^--access-log-format: "):
        AccessLog("/dev/null", fmt)


def test_only_who_wants_the_times_has_them_measured() -> None:
    timed = {fmt: read(fmt).timed for fmt in (*NAMES, "%(D)s %(L)s", "%(wait)s", "%(app)s", "%(h)s %(write)s")}
    assert [fmt for fmt, wants in timed.items() if wants] == ["json", "%(wait)s", "%(app)s", "%(h)s %(write)s"]


EVERY = '%(h)s %(u)s %(t)s "%(r)s" %(m)s %(U)s "%(q)s" "%(f)s" "%(a)s" "%({x}i)s" "%({y}o)s" "%(host)s" %(full_path)s'


@given(target=ANY, one=ANY, other=ANY, user=st.binary(max_size=40))
def test_no_field_ends_a_line_or_a_quote(target: str, one: str, other: str, user: bytes) -> None:
    encoded = b64encode(user + b":secret").decode()
    line = read(EVERY).line(
        Entry(
            request_line=("GET", target, "1.1"), host=other, stamp="now", answer_fields={"y": one},
            fields={"referer": one, "user-agent": other, "x": target, "authorization": f"Basic {encoded}"},
        )
    )  # fmt: skip
    assert ONE_LINE.fullmatch(line.encode("ascii"))
    assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) == 14
    assert line.split(" ")[2] == "[now]"  # the user is one word


# ---------------------------------------------------------------- the file

WRITER = """
import sys
from allcomers.server.access_log import AccessLog
from support.entries import asking
log = AccessLog(sys.argv[1], "common")
for number in range(500):
    log.log(asking("/" + sys.argv[2] * 300, peer="p", sent=number))
"""


def test_processes_share_a_file_without_mixing_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter], cwd=TESTS) for letter in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    lines = path.read_text().splitlines()
    assert len(lines) == 2000
    for line in lines:
        assert re.fullmatch(r'p - - \[[^]]+\] "GET /([abcd])\1{299} HTTP/1.1" 200 (\d+|-)', line)


def test_threads_write_while_the_file_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(str(path), "common")
    threads = [threading.Thread(target=lambda: [log.log(Entry()) for _ in range(500)]) for _ in range(4)]
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
    log.log(Entry())
    path.rename(tmp_path / "old")
    log.log(Entry())
    log.reopen()
    log.log(Entry())
    assert (len((tmp_path / "old").read_text().splitlines()), len(path.read_text().splitlines())) == (2, 1)
    assert not os.get_inheritable(log._fd)
    log.close()


def test_a_reopening_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    warnings: list[str] = []
    log = AccessLog(str(folder / "log"), "common", warn=warnings.append)
    folder.rename(tmp_path / "gone")
    log.reopen()
    log.log(Entry())
    log.close()
    assert len((tmp_path / "gone" / "log").read_text().splitlines()) == 1
    assert len(warnings) == 1
    assert "cannot reopen" in warnings[0]
    assert "No such file" in warnings[0]


STANDARD_WRITER = """
import sys
from allcomers.server.access_log import AccessLog
from support.entries import asking
log = AccessLog(sys.argv[1], "common")
log.log(asking("/first", peer="p"))
log.reopen()
log.log(asking("/second", peer="p"))
log.close()
print("still open", file=sys.stdout if "out" in sys.argv[1] or "1" in sys.argv[1] else sys.stderr)
"""


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/stderr", "/proc/self/fd/2"])
def test_standard_output_and_error_are_written_as_they_are(path: str) -> None:
    """Cover sockets, as systemd passes them: no path opens those (ENXIO of open(2))."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-c", STANDARD_WRITER, path]
            assert subprocess.run(command, cwd=TESTS, stdout=theirs, stderr=theirs, timeout=30).returncode == 0
        received = receive_all(ours).decode()
    assert re.findall(r"/first|/second|still open|Traceback", received) == ["/first", "/second", "still open"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's full disk")
def test_a_full_disk_costs_lines_and_is_told_once() -> None:
    warnings: list[str] = []
    log = AccessLog("/dev/full", warn=warnings.append)
    for _ in range(3):
        log.log(Entry())
    assert (log.dropped, len(warnings)) == (3, 1)
    assert "No space left" in warnings[0]
    log.reopen()
    log.log(Entry())
    log.close()
    assert (log.dropped, len(warnings)) == (4, 2)


def test_a_line_that_was_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    """Cut a write short by a file size limit, as the last block of a disk does; then remove the limit."""
    code = """
import resource, signal, sys
from allcomers.server.access_log import AccessLog
from support.entries import asking
warnings = []
log = AccessLog(sys.argv[1], "common", warn=warnings.append)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
log.log(asking("/first", peer="p", sent=1))
log.log(asking("/second", peer="p", sent=1))
log.log(asking("/third", peer="p", sent=1))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.log(asking("/fourth", peer="p", sent=1))
assert (log.dropped, len(warnings)) == (2, 1), (log.dropped, warnings)
"""
    path = tmp_path / "log"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60, cwd=TESTS)
    first, cut, fourth = path.read_text().splitlines()
    assert "/first" in first
    assert len(first) + 1 + len(cut) == 100
    assert fourth.startswith("p - - [")
    assert '"GET /fourth HTTP/1.1" 200 1' in fourth


def test_a_dash_is_standard_output_and_a_closed_pipe_is_told_on_standard_error() -> None:
    code = """
import sys
from allcomers.server.access_log import AccessLog
from support.entries import asking
log = AccessLog("-", "common")
log.log(asking("/seen", peer="p", sent=1))
log.reopen()
sys.stdin.read()
log.log(asking("/lost", peer="p", sent=1))
log.log(asking("/lost", peer="p", sent=1))
sys.exit(log.dropped)
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, cwd=TESTS) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert b'"GET /seen HTTP/1.1" 200 1\n' in process.stdout.readline()
        process.stdout.close()
        process.stdin.close()
        assert process.wait(60) == 2
        warnings = process.stderr.read().decode().splitlines()
    assert len(warnings) == 1
    assert "Broken pipe" in warnings[0]


def test_after_close_a_line_is_dropped(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"), warn=lambda text: None)
    log.close()
    log.close()
    log.log(Entry())
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


# ---------------------------------------------------------------- what a connection has to tell


class Clock:
    """A clock for the connection's driver, which a call moves on."""

    def __init__(self) -> None:
        self.now = offline.START

    def __call__(self) -> float:
        return self.now


def timed(handler: Handler, clock: Clock, room: int | None = None, **shared: Any) -> tuple[offline.Far, offline.Noted]:
    noted = offline.Noted()
    return offline.http(handler, noted=noted, room=room, shared={"clock": clock, **shared}), noted


def pass_time(far: offline.Far, clock: Clock, seconds: float) -> None:
    far.sleep(seconds)
    clock.now = far.now


def test_the_time_is_split_into_waiting_app_and_writing() -> None:
    clock = Clock()

    def handler(request: Request) -> Response:
        clock.now += 0.5
        return Response(b"x" * 1000)

    far, noted = timed(handler, clock, room=0)
    far.hear(b"GET / HTTP/1.1\r\n", calls=False)
    pass_time(far, clock, 1.0)  # reading: none of the three
    far.hear(b"Host: a\r\n\r\n", calls=False)
    work = far.conn.take_call()
    pass_time(far, clock, 2.0)  # for a thread
    reply = work()
    far.now = clock.now
    far.conn.answered(work, reply, far.now)
    pass_time(far, clock, 0.25)
    far.take(10_000)
    assert noted.answers[0]["seconds"] == pytest.approx(3.75)
    assert noted.times == [pytest.approx((2.0, 0.5, 0.25))]


def test_each_piece_of_a_stream_counts_for_the_app_and_what_is_between_for_writing() -> None:
    clock = Clock()

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            clock.now += 0.5
            yield b"x" * 1000

    far, noted = timed(lambda request: Response(pieces()), clock, room=0)
    far.hear(GET)
    for _ in range(4):
        far.now = clock.now
        pass_time(far, clock, 1.0)
        far.take(2000)
    far.now = clock.now
    far.take(2000)
    assert noted.answers[0]["seconds"] == pytest.approx(sum(noted.times[0]))
    assert noted.times[0][:2] == (0.0, pytest.approx(1.5))


def test_pipelined_requests_have_each_their_own_times() -> None:
    clock = Clock()
    durations = iter([0.5, 0.125])

    def handler(request: Request) -> Response:
        clock.now += next(durations)
        return Response(b"")

    far, noted = timed(handler, clock)
    far.hear(GET + GET)
    assert [app for _, app, _ in noted.times] == [0.5, 0.125]


def test_who_leaves_before_an_answer_is_noted_with_499() -> None:
    clock = Clock()
    post = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
    for data, takes in ((post + b"half", False), (GET, False), (GET, True)):
        far, noted = timed(lambda request: Response(b""), clock)
        far.conn.received(data, far.now)
        work = far.conn.take_call() if takes else None
        far.lose()
        far.lose()
        if work:
            far.conn.answered(work, work(), far.now)
        assert [(entry["status"], entry["sent"]) for entry in noted.answers] == [(499, 0)]
        assert noted.refusals == []


def test_who_leaves_between_requests_or_in_a_head_or_after_a_refusal_is_not() -> None:
    for data, statuses in ((b"", []), (b"GET / HTTP", []), (GET, [200]), (GET + b"\0", [200, 400])):
        far, noted = timed(lambda request: Response(b""), Clock())
        if data:
            far.hear(data)
        far.lose()
        assert [entry["status"] for entry in (*noted.answers, *noted.refusals)] == statuses
    far, noted = timed(lambda request: Response(b""), Clock())
    far.hear(b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nX")
    far.lose()
    assert [entry["status"] for entry in noted.answers] == [400]


def test_how_long_the_call_of_who_left_has_run_by_then() -> None:
    clock = Clock()

    def leave(request: Request) -> Response:
        clock.now += 2.0
        far.now = clock.now
        far.lose()
        return Response(b"")

    far, noted = timed(leave, clock)
    far.hear(GET)
    assert [entry["status"] for entry in noted.answers] == [499]
    assert noted.times == [pytest.approx((0.0, 2.0, 0.0))]


def test_server_timing_is_told_in_milliseconds_where_it_is_on() -> None:
    clock = Clock()

    def handler(request: Request) -> Response:
        clock.now += 0.0125
        return Response(b"", headers=[("Server-Timing", "db;dur=3")])

    far, _ = timed(handler, clock, server_timing=True)
    far.hear(GET)
    assert b"\r\nServer-Timing: db;dur=3\r\n" in far.said
    assert b"\r\nServer-Timing: wait;dur=0.000, app;dur=12.500\r\n" in far.said
    far, _ = timed(handler, clock)
    far.hear(GET)
    assert far.said.count(b"Server-Timing") == 1


# ---------------------------------------------------------------- a server

APP = """
import time
from pathlib import Path
from allcomers import Response

def app(request):
    if request.path == "/wait":
        Path(request.query + ".begun").touch()
        while not Path(request.query).exists():
            time.sleep(0.005)
    return Response([b"x" * 1000] * 3 if request.path == "/pieces" else b"x", headers=[("X-App", "a b")])

async def live(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"x"})
"""
CLOSE = "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Mine: m\r\n\r\n"


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_a_request_that_waits_for_a_thread(tmp_path: Path, model: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    log, gate = tmp_path / "log", tmp_path / "gate"
    fmt = '%({x-mine}i)s "%({X-App}o)s" %(U)s %(wait)s %(app)s %(write)s %(L)s'
    arguments = ("--calls", "pool", "--threads", "1", "-m", model, "--server-timing", "--access-log", str(log))
    with serving("run", f"{tmp_path}/app.py:app", *arguments, "--access-log-format", fmt) as server:
        with server.connect() as first, server.connect() as second:
            first.sendall(CLOSE.format(f"/wait?{gate}").encode())
            wait_for(Path(f"{gate}.begun").exists, "the first call to begin")
            opened = time.monotonic()
            second.sendall(CLOSE.format("/pieces").encode())
            wait_for(lambda: time.monotonic() > opened + 0.1, "a tenth of a second to go by")
            gate.touch()
            received = [receive_all(sock) for sock in (first, second)]
        lines = wait_for(lambda: len(found := log.read_text().splitlines()) == 2 and found, "two lines")
    times = {}
    for line in lines:
        found = re.fullmatch(r'm "a b" (/\w+) ([0-9.]+) ([0-9.]+) ([0-9.]+) ([0-9.]+)', line)
        assert found, line
        times[found[1]] = [float(text) for text in found.groups()[1:]]
    assert times["/wait"][1] >= 0.1
    assert times["/pieces"][0] > 0
    for wait, app, write, whole in times.values():
        assert wait + app + write <= whole + 1e-5
    for data in received:
        assert re.search(rb"\r\nServer-Timing: wait;dur=[0-9.]+, app;dur=[0-9.]+\r\n", data)


@pytest.mark.parametrize("model", ["asyncio", "thread"])
def test_an_async_app_has_times_too(tmp_path: Path, model: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    log = tmp_path / "log"
    arguments = ("-m", model, "--server-timing", "--access-log", str(log), "--access-log-format", "json")
    with serving("run", f"{tmp_path}/app.py:live", *arguments) as server:
        received = ask(server, CLOSE.format("/").encode())
        (line,) = wait_for(lambda: log.read_text().splitlines(), "a line")
    found = json.loads(line)
    assert 0 < found["app"] <= found["seconds"]
    assert b"\r\nServer-Timing: wait;dur=" in received


def test_a_client_that_leaves_its_call_running_is_noted(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    log, gate = tmp_path / "log", tmp_path / "gate"
    arguments = ("--calls", "pool", "--access-log", str(log), "--access-log-format", "%(s)s %(b)s %(U)s")
    with serving("run", f"{tmp_path}/app.py:app", *arguments) as server:
        with server.connect() as sock:
            sock.sendall(CLOSE.format(f"/wait?{gate}").encode())
            wait_for(Path(f"{gate}.begun").exists, "the call to begin")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        (line,) = wait_for(lambda: log.read_text().splitlines(), "a line")
        assert line == "499 - /wait"
        gate.touch()


def test_no_time_is_measured_where_nobody_wants_to_know(tmp_path: Path) -> None:
    with serving("serve", str(tmp_path), "--access-log", str(tmp_path / "log")) as server:
        assert b"Server-Timing" not in ask(server, CLOSE.format("/").encode())

"""`allcomers load` as a process, against our own server: its output, its files and its processes."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from allcomers.commands.load.data.result import Result
from support.certificates import Certificate
from support.harness import PATIENCE, ROOT, Server, free_port, serving, wait_for

COMMAND = [sys.executable, "-m", "allcomers", "load"]

BODY = "Hello, all comers"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("run", "tests/support/apps/served.py:Hello", "--access-log", "off") as server:
        yield server


HEAD_TIMEOUT = 2
"""Seconds after which the server of hostile clients cuts off those without a complete head."""


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    options = ("--access-log", "off", "--head-timeout", str(HEAD_TIMEOUT))
    with serving("run", "tests/support/apps/served.py:Hello", *options) as server:
        yield server


def url(server: Server, scheme: str = "http", path: str = "/") -> str:
    return f"{scheme}://{server.address[0]}:{server.address[1]}{path}"


def load(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, **keywords
    )


def found(*arguments: str, status: int = 0, **keywords: Any) -> Result:
    """The result."""
    done = load(*arguments, "-q", "--json", "-", **keywords)
    assert (done.returncode, done.stderr) == (status, "")
    result = Result.from_json(done.stdout)
    assert result.sent == result.answered + result.failed + result.in_flight
    return result


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; a zombie of another parent counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


# ---------------------------------------------------------------- loads


def test_the_table(server: Server) -> None:
    done = load(url(server), "-c", "4", "-n", "2000", "-t", "2")
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        r"http://127.*: closed loop, 4 clients in 2 processes, .* s",
        r"  TPS +[\d,]+ +answered in full per second",
        r" +sent +2,000",
        r" +answered +2,000 +2,000 × 200",
        r" +connections +4 +held of 4 planned; 4 opened in total",
        r" +p99\.99 +[\d.]+ .?s +█+.*",
        r" +≤ [\d.]+ .?s +[\d.]+% .*",
    ):
        assert re.search(f"^{line}$", done.stdout, re.MULTILINE), line


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "3"),
        ("-r", "2000", "--arrivals", "poisson", "-t", "2"),
        ("--pipeline", "8"),
        ("--no-keep-alive",),
        ("--browser", "-m", "HEAD"),
    ],
)
def test_every_kind_of_request(server: Server, arguments: tuple[str, ...]) -> None:
    result = found(url(server), "-n", "300", *arguments)
    assert (result.sent, result.answered, result.errors, result.statuses) == (300, 300, {}, {200: 300})
    assert result.response.count == result.service.count == 300


@pytest.mark.parametrize("protocol", [(), ("--http2", "--streams", "5")])
@pytest.mark.parametrize("env", [{}, {"ALLCOMERS_PURE": "1"}])
def test_a_response_must_be_the_expected_one(server: Server, protocol: tuple[str, ...], env: dict[str, str]) -> None:
    def errors(*arguments: str, path: str = "/") -> dict[str, int]:
        asked = (url(server, path=path), "-n", "40", "-c", "2", *protocol, *arguments)
        result = found(*asked, env={**os.environ, **env})
        assert (result.answered, result.wrong.count) == (40, sum(result.errors.values()))
        assert result.error_share == sum(result.errors.values()) / 40
        return dict(result.errors)

    assert errors("--expect", BODY, "--expect-status", "200") == {}
    assert errors("--expect", BODY.upper()) == {"body": 40}
    assert errors("--expect-size", str(len(BODY)), "--expect-status", "3xx,204") == {"status": 40}
    assert errors("--expect-size", str(len(BODY) + 1), "--expect-status", "2xx") == {"body": 40}
    assert errors("-m", "PUT") == {"status": 40}
    assert errors("-m", "PUT", "--expect-status", "405") == {}


def test_plain_python_does_the_same(server: Server) -> None:
    result = found(url(server), "-n", "300", "--pipeline", "3", env={**os.environ, "ALLCOMERS_PURE": "1"})
    assert (result.answered, result.errors, result.statuses) == (300, {}, {200: 300})


def test_https(certificate: Certificate, tmp_path: Path) -> None:
    pem = str(certificate.pem)
    with serving("run", "tests/support/apps/served.py:Bytes", "--certfile", pem, "--access-log", "off") as server:
        target = url(server, "https", "/?n=200000")
        result = found(target, "-n", "40", "-c", "4")
        assert (result.answered, result.failed) == (40, 0)
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        nobody = found(target, "-d", "2", "--ca-certs", str(other), status=1)
        assert set(nobody.errors) == {"tls"}
        assert load(target, "--ca-certs", str(tmp_path)).returncode == 2


def test_a_service() -> None:
    with serving("run", "examples/echo.py:Echo") as server:
        result = found(url(server, "tcp", ""), "-n", "100", "--body", r"ping\n", "--expect", r"ping\n")
    assert (result.answered, result.errors, result.statuses) == (100, {}, {0: 100})


def test_a_service_behind_tls(certificate: Certificate, tmp_path: Path) -> None:
    with serving("run", "examples/echo.py:Echo", "--certfile", str(certificate.pem)) as server:
        target, talk = url(server, "tls", ""), ("--body", r"ping\n", "--expect", r"ping\n")
        result = found(target, "-n", "100", *talk)
        assert (result.answered, result.errors, result.statuses) == (100, {}, {0: 100})
        wrong = found(target, "-n", "5", "-c", "1", "--body", r"ping\n", "--expect", r"pong\n", status=1)
        assert wrong.errors == {"malformed: the response is not the one expected": 5}
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        nobody = found(target, *talk, "-d", "2", "--ca-certs", str(other), status=1)
        assert set(nobody.errors) == {"tls"}


def test_a_thousand_connections_are_held(server: Server) -> None:
    result = found(url(server), "-c", "1000", "-t", "2", "--think", "0.5", "-d", "1")
    assert (result.connections_asked, result.connections_held) == (1000, 1000)
    assert result.failed == 0


@pytest.mark.parametrize("flags", [(), ("--no-keep-alive",), ("-r", "500", "--no-keep-alive")])
def test_no_descriptor_is_left(server: Server, flags: tuple[str, ...]) -> None:
    """It warns, continues with the connections it has, and does not spin."""
    result = found(url(server), "-c", "100", "-d", "1", *flags, preexec_fn=few_descriptors)
    assert result.answered > 0
    if not flags:
        assert set(result.errors) == {"no descriptor left"}
        assert 10 <= result.connections_held < 50
        assert any("100 connections were planned" in line for line in result.warnings)


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))


# ---------------------------------------------------------------- exit status


def test_a_service_level_that_is_missed_is_4(server: Server) -> None:
    done = load(url(server), "-n", "100", "--slo", "p99<60s,errors<1%,p50<1us")
    assert done.returncode == 4
    assert re.search(r"p99<60s +\S+ .?s +met", done.stdout)
    assert re.search(r"p50<1us +\S+ .?s +missed", done.stdout)
    assert load(url(server), "-n", "100", "--slo", "p99<60s,errors<1%,tps>1").returncode == 0


def test_no_server_is_1_at_once() -> None:
    port = free_port()
    done = load(f"127.0.0.1:{port}", "-d", "1h")
    assert (done.returncode, done.stdout) == (1, "")
    refused = "no server listens at 127.0.0.1, port {} (Connection refused): start it, or mend the URL"
    assert done.stderr == f"allcomers: {refused.format(port)}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["http://127.0.0.1/", "--rude"], "unrecognized arguments: --rude"),
        (["http://192.0.2.1/"], "--i-own-this-host"),
        (["http://127.0.0.1/", "--slo", "fast"], "'fast' is no term"),
    ],
)
def test_a_bad_option_is_2_and_one_line(arguments: list[str], expected: str) -> None:
    done = load(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert expected in done.stderr


# ---------------------------------------------------------------- files


def test_late_answers_are_in_the_rows(tmp_path: Path) -> None:
    """Check that the rows have each answer of the total, also those that came after the measured second."""
    rows, total, app = tmp_path / "rows.csv", tmp_path / "total.json", tmp_path / "slow.py"
    app.write_text(
        "import time\ndef slow(environ, start_response):\n    time.sleep(0.4)\n"
        "    start_response('204 No Content', [])\n    return []\n"
    )
    with serving("run", f"{app}:slow", "--calls", "pool", "--access-log", "off") as slow:
        done = load(url(slow), "-d", "1", "-r", "20", "--csv", str(rows), "--json", str(total), "-q")
    assert (done.returncode, done.stderr) == (0, "")
    result = Result.from_json(total.read_text())
    assert result.late.answered >= 1
    assert sum(int(row["answered"]) for row in csv.DictReader(io.StringIO(rows.read_text()))) == result.answered


def test_a_bad_file_is_told_before_the_load(server: Server, tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    done = load(url(server), "-d", "60", "--json", str(good), "--csv", str(tmp_path / "none" / "rows.csv"))
    assert done.returncode == 2
    assert re.fullmatch(r"allcomers: cannot write '.*rows\.csv': No such file or directory\n", done.stderr)
    assert not good.exists()


def test_a_file_that_cannot_be_written_leaves_the_others(server: Server, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    done = load(url(server), "-n", "10", "-q", "--json", "/dev/full", "--csv", str(rows))
    assert done.returncode == 1
    assert done.stderr == "allcomers: cannot write '/dev/full': No space left on device\n"
    assert len(rows.read_text().splitlines()) == 2


def test_a_file_keeps_its_content_if_there_is_no_result(tmp_path: Path) -> None:
    kept, created = tmp_path / "kept.json", tmp_path / "created.csv"
    kept.write_text("before")
    done = load("http://nowhere.invalid/", "-d", "1", "--json", str(kept), "--csv", str(created))
    assert done.returncode == 2
    assert kept.read_text() == "before"
    assert not created.exists()


def test_two_outputs_never_share_a_file(server: Server, tmp_path: Path) -> None:
    both = str(tmp_path / "both")
    done = load(url(server), "-n", "1", "--json", both, "--csv", both)
    assert (done.returncode, done.stderr) == (2, f"allcomers: {both!r} is named for two outputs\n")


def test_the_files(server: Server, tmp_path: Path) -> None:
    names = {kind: str(tmp_path / f"load.{kind}") for kind in ("json", "csv", "html", "hgrm")}
    flags = [word for kind, name in names.items() for word in (f"--{kind}", name)]
    done = load(url(server, path="/?<b>"), "-n", "200", "-r", "200", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    result = Result.from_json(Path(names["json"]).read_text())
    assert result.answered == 200

    rows = list(csv.DictReader(io.StringIO(Path(names["csv"]).read_text())))
    assert len(rows) in (len(result.intervals), len(result.intervals) + 1)  # one more for what came late
    assert sum(int(row["answered"]) for row in rows) == 200
    first = rows[0]
    assert float(first["tps"]) * float(first["seconds"]) == pytest.approx(int(first["answered"]), abs=1)

    page = Path(names["html"]).read_text()
    assert "<b>" not in page.partition("</h1>")[0]  # the user's input is escaped
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(?!data:)(https?:)?//", page)  # nothing from elsewhere
    assert page.count('<figure class="chart') == 4

    summary = Path(names["hgrm"]).read_text().splitlines()[-2]
    assert re.search(r"TotalCount +=\s+200\]", summary)


def test_json_has_standard_output_for_itself(server: Server) -> None:
    done = load(url(server), "-n", "10", "--json", "-")
    assert json.loads(done.stdout)["answered"] == 10
    assert "answered in full" in done.stderr


# ---------------------------------------------------------------- ends


def test_ctrl_c_reports_the_result_so_far(server: Server) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen([*COMMAND, url(server), "-d", "60", "-t", "2"], stdout=subprocess.PIPE, text=True)
        wait_for(lambda process=process: len(children(process.pid)) == 2, "both processes of the load")
        pids = children(process.pid)
        wait_for(lambda: connections_to(server) >= 10, "all clients to connect")
        process.send_signal(signum)
        out = process.communicate(timeout=PATIENCE)[0]
        assert "(interrupted)" in out
        assert process.returncode in (0, 1)  # whether anything was answered by then
        wait_for(lambda pids=pids: all(map(is_gone, pids)), "them to be gone")


INTERRUPTED = """
import os, signal, sys
from allcomers.commands.load.run import processes
from allcomers.commands.main import main

calls = iter((False, True))

class Clock:
    @staticmethod
    def monotonic():  # called before each turn of the parent
        if next(calls, False):
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

processes.time = Clock
sys.exit(main())
"""


def test_an_interrupt_between_two_turns_is_not_lost(server: Server) -> None:
    command = [sys.executable, "-c", INTERRUPTED, "load", url(server), "-d", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert "(interrupted)" in done.stdout, done.stderr


def connections_to(server: Server) -> int:
    port = f":{server.address[1]:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(port) and line.split()[3] == "01" for line in lines)


def test_a_load_that_is_killed_leaves_no_process(server: Server) -> None:
    process = subprocess.Popen([*COMMAND, url(server), "-d", "60", "-t", "2"])
    wait_for(lambda: len(children(process.pid)) == 2, "both processes of the load")
    pids = children(process.pid)
    process.kill()
    process.wait(PATIENCE)
    wait_for(lambda: all(map(is_gone, pids)), "them to be gone")


def test_a_process_of_the_load_that_dies_is_reported(server: Server) -> None:
    process = subprocess.Popen([*COMMAND, url(server), "-d", "3", "-t", "2"], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: len(children(process.pid)) == 2, "both processes of the load")
    os.kill(children(process.pid)[0], signal.SIGKILL)
    out = process.communicate(timeout=60)[0]
    assert "was killed by signal 9: its figures are lost" in out
    assert process.returncode == 0


def test_a_terminal_shows_progress(server: Server) -> None:
    env = {**os.environ, "TERM": "xterm"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, url(server), "-d", "2"], stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # its other end is closed
        pass
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    assert re.search(rb"\r\x1b\[K.* +\d+%  0:0\d left  [1-9][\d,]* TPS, 10 connections, 0 failed", seen)
    assert b"Response time" in seen.rpartition(b"\r\x1b[K")[2]  # after the progress, which is erased


# ---------------------------------------------------------------- hostile


@pytest.mark.parametrize(
    ("kind", "statuses"), [("idle", set()), ("slow-head", {408}), ("slow-body", {408, 405, 501}), ("slow-read", {200})]
)
def test_our_server_stands_hostile_clients(impatient: Server, kind: str, statuses: set[int]) -> None:
    """Clients without a complete head in time are cut off, and ordinary ones are answered beside them."""
    hostile = subprocess.Popen(
        [*COMMAND, url(impatient), "--hostile", kind, "-c", "20", "-d", str(2 * HEAD_TIMEOUT), "-q", "--json", "-"],
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: connections_to(impatient) >= 20 or hostile.poll() is not None, "them to connect")
    assert found(url(impatient), "-n", "100").answered == 100
    result = Result.from_json(hostile.communicate(timeout=60)[0])
    assert hostile.returncode == 0
    assert result.connections_held == 20
    assert result.sent == result.answered + result.failed + result.in_flight >= 20
    assert set(result.statuses) <= statuses
    if kind in ("idle", "slow-head"):
        assert result.answered + result.failed > 0
        # Its time counts from accept, and a client may send its first byte later than that.
        assert result.response.min >= HEAD_TIMEOUT / 2 or not result.answered


def test_reconnecting_clients(server: Server) -> None:
    result = found(url(server), "--hostile", "reconnect", "-c", "5", "-d", "1.5")
    assert (result.sent, result.errors) == (0, {})
    assert result.connections_opened >= 5
    assert found(url(server), "-n", "10").answered == 10

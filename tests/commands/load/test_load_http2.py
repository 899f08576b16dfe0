"""`allcomers load --http2` as a process: against our own server, against nghttpd, against what speaks no HTTP/2."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from allcomers.commands.load.data.result import Result
from support.certificates import Certificate
from support.harness import ROOT, Server, free_port, serving, wait_for

COMMAND = [sys.executable, "-m", "allcomers", "load"]


def load(*arguments: str, status: int = 0, **keywords: Any) -> Result:
    command = [*COMMAND, *arguments, "--http2", "-q", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, **keywords)
    assert (done.returncode, done.stderr) == (status, "")
    result = Result.from_json(done.stdout)
    assert result.sent == result.answered + result.failed + result.in_flight
    return result


def url(server: Server, path: str = "/", scheme: str = "http") -> str:
    return f"{scheme}://{server.address[0]}:{server.address[1]}{path}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("run", "tests/support/apps/served.py:Bytes", "--http", "auto", "--access-log", "off") as server:
        yield server


@pytest.mark.parametrize(
    "arguments",
    [
        ("--streams", "1"),
        ("--streams", "30", "-t", "2"),
        ("--streams", "1000", "-c", "1"),  # the server allows 128
        ("--streams", "5", "-r", "1000"),
        ("--streams", "3", "--browser", "-m", "HEAD"),
    ],
)
def test_every_kind_of_load(server: Server, arguments: tuple[str, ...]) -> None:
    result = load(url(server, "/?n=3"), "-n", "400", "-c", "4", *arguments)
    assert (result.sent, result.answered, result.errors, result.statuses) == (400, 400, {}, {200: 400})
    assert result.response.count == result.service.count == 400


def test_large_responses_over_tls(certificate: Certificate) -> None:
    target = ("tests/support/apps/served.py:Bytes", "--certfile", str(certificate.pem), "--access-log", "off")
    with serving("run", *target, "--http", "auto") as server:
        result = load(url(server, "/?n=1500000", "https"), "-n", "12", "-c", "2", "--streams", "3")
        assert (result.answered, result.errors) == (12, {})
        assert sum(interval.bytes_in for interval in (*result.intervals, result.late)) > 12 * 1_500_000


def test_a_server_that_leaves_gets_no_more_on_this_connection() -> None:
    options = ("--max-requests-per-connection", "10", "--http", "auto", "--access-log", "off")
    with serving("run", "tests/support/apps/served.py:Bytes", *options) as server:
        result = load(url(server, "/?n=3"), "-n", "100", "-c", "1", "--streams", "4")
        assert result.answered + result.failed == 100
        assert set(result.errors) <= {"stream reset: REFUSED_STREAM"}
        assert result.connections_opened >= 5  # streams under way when it leaves are more than 10


@pytest.mark.skipif(not shutil.which("nghttpd"), reason="there is no nghttpd here (apt install nghttp2-server)")
def test_an_upload_to_another_server(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(300_000))
    port = free_port()
    with subprocess.Popen(["nghttpd", "--no-tls", "--echo-upload", "-d", str(tmp_path), str(port)]) as other:
        try:
            wait_for(lambda: not _connect(port), "nghttpd to listen")
            target = f"http://127.0.0.1:{port}/body"
            result = load(target, "-n", "20", "-c", "2", "--streams", "4", "-m", "POST", "--body", f"@{body}")
            assert (result.answered, result.errors, result.statuses) == (20, {}, {200: 20})
            intervals = (*result.intervals, result.late)
            assert sum(interval.bytes_in for interval in intervals) > 20 * 300_000
            assert sum(interval.bytes_out for interval in intervals) > 20 * 300_000
        finally:
            other.terminate()


def _connect(port: int) -> int:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port))


def test_streams_that_are_reset_fail_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_refuse_three, args=(listener,))
        thread.start()
        result = load(f"http://127.0.0.1:{listener.getsockname()[1]}/", "-n", "20", "-c", "1", "--streams", "5")
        thread.join(60)
    assert (result.answered, result.errors) == (17, {"stream reset: REFUSED_STREAM": 3})
    assert result.connections_opened == 1


def _refuse_three(listener: socket.socket) -> None:
    """Serve one connection: refuse its first three streams, answer the others."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    listener.accept()[0].close()  # the load looks first whether a server listens
    sock, _ = listener.accept()
    with sock:
        data = b""
        while True:
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived) and event.stream_id is not None:
                    if event.stream_id < 7:
                        connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
                    else:
                        connection.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
            sock.sendall(connection.data_to_send())
            data = sock.recv(65536)
            if not data:
                return


def test_what_speaks_no_http2_is_named(certificate: Certificate) -> None:
    hello = ("tests/support/apps/served.py:Bytes", "--http", "1.1")
    with serving("run", *hello) as plain, serving("run", *hello, "--certfile", str(certificate.pem)) as encrypted:
        (kind,) = load(url(plain), "-d", "0.5", "-c", "1", status=1).errors
        assert kind.startswith("malformed: ")
        assert set(load(url(encrypted, scheme="https"), "-d", "0.5", "-c", "1", status=1).errors) == {"no HTTP/2"}

"""The admin's site: figures, health and metrics of a real server, whatever happens to its workers; and access to it."""

from __future__ import annotations

import http.client
import io
import json
import os
import platform
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_fd_to_metric_families
from prometheus_client.parser import text_string_to_metric_families

from allcomers.errors import ConfigError
from allcomers.models import TABLE
from allcomers.server.admin.allowed_hosts import check, is_allowed, names_of
from allcomers.server.admin.interval import percentile
from allcomers.server.admin.snapshot import usage
from allcomers.system.counters import BUCKETS, bucket, bucket_start
from support.crowd import exchange
from support.harness import ROOT, Server, serving, wait_for
from support.http2_client import Http2Client
from support.staged import App

APP = f"{ROOT}/tests/support/apps/admin_app.py:app"
ASGI = f"{ROOT}/tests/support/apps/admin_asgi.py:app"


class Admin:
    """The admin's site of a Server."""

    def __init__(self, server: Server) -> None:
        found = wait_for(lambda: re.search(r"Admin at: http://(.+):(\d+)", server.stderr), "the admin's address")
        self.address = (found[1].strip("[]"), int(found[2]))

    def ask(self, path: str, **fields: str) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in fields.items()})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def status(self, path: str) -> int:
        """Return the status of a GET; 0 if there is no response."""
        with suppress(OSError, http.client.HTTPException):
            return self.ask(path)[0]
        return 0

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("/stats.json")[1])
        return found

    def stats_when(self, condition: Any, what: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            stats = self.stats()
            return stats if condition(stats) else None

        stats: dict[str, Any] = wait_for(found, what)
        return stats


@contextmanager
def watched(*arguments: str, target: str = APP, **keywords: Any) -> Iterator[tuple[Server, Admin]]:
    with serving("run", target, "--admin", "127.0.0.1:0", *arguments, **keywords) as server:
        admin = Admin(server)
        wait_for(lambda: admin.status("/health/ready") == 200, "the server to be ready")
        yield server, admin


# ------------------------------------------------------------ figures


@pytest.mark.parametrize("model", [name for name, model in TABLE.items() if not model.obstacle])
def test_every_request_counts_once_under_every_model(model: str) -> None:
    with watched("--model", model, "--workers", "2" if model in ("epoll", "process") else "1") as (server, admin):
        for _ in range(3):
            with server.connect() as sock:
                for path in ("/", "/", "/status/404", "/status/503", "/sleep/20"):
                    exchange(sock, path)
        stats = admin.stats_when(lambda stats: stats["totals"]["answered"] >= 15, "15 answers")
        totals = stats["totals"]
        assert totals["requests"] == totals["answered"] == 15
        assert totals["answers"] == {"2xx": 9, "4xx": 3, "5xx": 3}
        assert totals["accepted"] == 3
        assert totals["aborted"] == 0
        assert totals["bytes_out"] > 15_000
        assert 15 * 30 < totals["bytes_in"] < 15 * 100
        idle = admin.stats_when(lambda stats: stats["users"] == 0, "nobody to be connected")
        assert idle["in_progress"] == idle["queue"] == 0
        assert {worker["model"] for worker in idle["workers"]} == {model}


@pytest.mark.parametrize("calls", ["inline", "pool"])
def test_a_call_that_runs_is_in_progress_and_its_user_is_there(calls: str) -> None:
    with watched("--model", "epoll", "--calls", calls, "--threads", "1") as (server, admin), server.connect() as sock:
        sock.sendall(b"GET /sleep/3000 HTTP/1.1\r\nHost: test\r\n\r\n")
        stats = admin.stats_when(lambda stats: stats["in_progress"] == 1, "a request in progress")
        assert stats["users"] == 1
        if calls == "pool":
            with server.connect() as other:
                other.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                admin.stats_when(lambda stats: stats["queue"] == 1, "a call that waits for the only thread")
                assert sock.recv(65536).startswith(b"HTTP/1.1 200")
                assert other.recv(65536).startswith(b"HTTP/1.1 200")
        else:
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        times = admin.stats_when(lambda stats: stats["in_progress"] == 0, "no request in progress")["windows"]["60"]
        assert times["max"] >= 3.0 * 15 / 16
        assert times["app"] * times["tps"] * times["seconds"] >= 2.9


def test_streams_of_a_connection_are_requests_of_one_user(tmp_path: Path) -> None:
    """Those of HTTP/2: each is in progress until it is answered, and counted once."""
    app = App(tmp_path)
    with (
        watched("--calls", "pool", "--threads", "2", target=app.target) as (server, admin),
        Http2Client(server.address) as client,
    ):
        streams = [client.request(path=f"/wait?{number}") for number in range(5)]
        stats = admin.stats_when(lambda stats: stats["in_progress"] == 5, "five requests in progress")
        assert (stats["users"], stats["http2_users"]) == (1, 1)
        app.open_gate()
        assert {reply.status for reply in client.all_replies(streams)} == {200}
        stats = admin.stats_when(lambda stats: stats["in_progress"] == 0, "no request in progress")
        totals = stats["totals"]
        assert (stats["users"], totals["accepted"], totals["requests"], totals["answered"]) == (1, 1, 5, 5)
        assert b'allcomers_http2_connections{worker="1"} 1' in admin.ask("/metrics")[1]
        client.wire.close()
        stats = admin.stats_when(lambda stats: stats["users"] == 0, "nobody to be connected")
        assert stats["http2_users"] == 0


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (APP, ["--calls", "inline"]),
        (APP, ["--calls", "auto"]),
        (APP, ["--calls", "pool"]),
        (ASGI, []),
        (ASGI, ["--model", "thread"]),
    ],
    ids=["inline", "auto", "pool", "asgi", "asgi-thread"],
)
def test_a_time_is_the_whole_time_whichever_way_it_takes(target: str, options: list[str]) -> None:
    with watched(*options, target=target) as (server, admin):
        with server.connect() as sock:
            for path in ("/", "/", "/sleep/100", "/", "/sleep/100"):
                assert exchange(sock, path).status == 200
        stats = admin.stats_when(lambda stats: stats["totals"]["answered"] == 5, "five answers")
        assert stats["totals"]["requests"] == 5
        assert stats["totals"]["aborted"] == 0
        assert admin.stats_when(lambda stats: stats["users"] == 0, "nobody to be connected")["in_progress"] == 0
        over = stats["windows"]["60"]
        assert over["p90"] >= 0.1 * 15 / 16
        assert 0.039 <= over["mean"] <= 5.0, "two of five took 0.1 s; uvloop's timers may be 1 ms early"
        assert 0.036 <= over["app"] <= 5.0, "two of five calls took 0.1 s"


def test_who_leaves_before_the_answer_is_counted_as_that() -> None:
    with watched("--model", "epoll", "--calls", "pool") as (server, admin):
        with server.connect() as sock:
            sock.sendall(b"GET /stream/100000 HTTP/1.1\r\nHost: test\r\n\r\n")
            sock.recv(1000)
        stats = admin.stats_when(lambda stats: stats["totals"]["aborted"] == 1, "a request that came to nothing")
        assert stats["totals"]["requests"] == 1
        assert stats["totals"]["answered"] == stats["in_progress"] == 0


def test_what_is_refused_counts_as_asked_and_answered() -> None:
    with watched() as (server, admin):
        with server.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 400")
        stats = admin.stats_when(lambda stats: stats["totals"]["answered"] == 1, "a refusal")
        assert stats["totals"]["answers"] == {"4xx": 1}
        assert stats["totals"]["requests"] == 1


def test_messages_of_a_service_count_too() -> None:
    with watched(target=f"{ROOT}/examples/echo.py:Echo") as (server, admin):
        with server.connect() as sock:
            for _ in range(3):
                sock.sendall(b"hello\n")
                assert sock.recv(100)
        stats = admin.stats_when(lambda stats: stats["totals"]["answered"] == 3, "three answers")
        assert stats["totals"]["answers"] == {"other": 3}
        assert stats["scheme"] == "tcp"


def test_a_worker_that_is_replaced_takes_no_count_with_it() -> None:
    with watched() as (server, admin):
        with server.connect() as sock:
            exchange(sock)
        before = admin.stats_when(lambda stats: stats["totals"]["answered"] == 1, "an answer")
        pid = before["workers"][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        after = admin.stats_when(
            lambda stats: [worker["pid"] != pid and worker["state"] for worker in stats["workers"]] == ["ready"],
            "another worker",
        )
        assert after["totals"]["answered"] == 1
        assert after["workers"][0]["age"] < before["workers"][0]["age"] + 60
        with server.connect() as sock:
            exchange(sock)
        admin.stats_when(lambda stats: stats["totals"]["answered"] == 2, "the answer of the next worker")


def test_metrics_are_what_prometheus_reads() -> None:
    with watched() as (server, admin):
        with server.connect() as sock:
            for path in ("/", "/sleep/50", "/status/404"):
                exchange(sock, path)
        admin.stats_when(lambda stats: stats["totals"]["answered"] == 3, "three answers")
        status, body, headers = admin.ask("/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(body.decode())}
        assert sum(sample.value for sample in families["allcomers_requests"].samples) == 3
        answers = {sample.labels["status"]: sample.value for sample in families["allcomers_answers"].samples}
        assert {status: count for status, count in answers.items() if count} == {"2xx": 2, "4xx": 1}
        times = families["allcomers_response_seconds"].samples
        counts = [sample.value for sample in times if sample.name.endswith("_bucket")]
        assert counts == sorted(counts)
        assert counts[-1] == 3
        slow = [sample for sample in times if sample.name.endswith("_bucket") and float(sample.labels["le"]) < 0.05]
        assert slow[-1].value <= 2
        assert next(sample.value for sample in times if sample.name.endswith("_sum")) >= 0.05
        _, body, headers = admin.ask("/metrics", Accept="application/openmetrics-text;version=1.0.0")
        assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        opened = {family.name: family for family in text_fd_to_metric_families(io.StringIO(body.decode()))}
        assert {name: family.type for name, family in opened.items()} == {
            name: "info" if name == "allcomers_server" else family.type
            for name, family in ((name.removesuffix("_info"), family) for name, family in families.items())
        }
        assert opened["allcomers_server"].samples[0].labels["python"] == platform.python_version()


# ------------------------------------------------------------ health


def test_it_is_unready_from_the_moment_when_it_is_told_to_leave() -> None:
    with serving("run", APP, "--admin", "127.0.0.1:0", "--drain-delay", "60") as server:
        admin = Admin(server)
        wait_for(lambda: admin.status("/health/ready") == 200, "the server to be ready")
        assert admin.status("/health/live") == 200
        server.send(signal.SIGTERM)
        wait_for(lambda: admin.status("/health/ready") == 503, "the server to say that it leaves")
        with server.connect() as sock:  # and still it serves who comes
            assert exchange(sock).status == 200
        admin.stats_when(lambda stats: stats["stage"] == "leaving", "a second in which it leaves")
        assert admin.status("/health/live") == 200
        server.send(signal.SIGTERM)  # a second one is in a hurry
        wait_for(lambda: server.process.poll() is not None, "the server to be gone")
        assert admin.status("/health/live") == 0


def test_it_answers_while_the_worker_hangs_and_says_so() -> None:
    with watched("--hang-timeout", "60") as (_, admin):
        worker = admin.stats()["workers"][0]["pid"]
        os.kill(worker, signal.SIGSTOP)
        try:
            stats = admin.stats_when(lambda stats: stats["workers"][0]["state"] == "silent", "a worker without a word")
            assert admin.status("/health/ready") == 503
            assert admin.status("/health/live") == 200
            assert stats["workers"][0]["silent"] > 0
        finally:
            os.kill(worker, signal.SIGCONT)
        wait_for(lambda: admin.status("/health/ready") == 200, "the worker to answer again")


def children(server: Server, admin: Admin) -> list[int]:
    """Return the supervisor's child processes, except its workers."""
    workers = {worker["pid"] for worker in admin.stats()["workers"]}
    return [pid for pid in server.workers() if pid not in workers]


def test_if_it_dies_another_takes_its_place_and_nobody_else_notices() -> None:
    with watched() as (server, admin):
        worker = admin.stats()["workers"][0]["pid"]
        (process,) = children(server, admin)
        os.kill(process, signal.SIGKILL)
        with server.connect() as sock:
            assert exchange(sock).status == 200
        wait_for(lambda: admin.status("/health/ready") == 200, "the admin to be there again")
        assert admin.stats()["workers"][0]["pid"] == worker
        assert children(server, admin) != [process]


def test_it_does_not_outlive_the_supervisor() -> None:
    with serving("run", APP, "--admin", "127.0.0.1:0") as server:
        admin = Admin(server)
        wait_for(lambda: admin.status("/health/ready") == 200, "the server to be ready")
        (process,) = children(server, admin)
        server.send(signal.SIGTERM)
        server.process.wait(20)
        assert not Path(f"/proc/{process}").exists()
    server = Server("run", APP, "--admin", "127.0.0.1:0")
    admin = Admin(server)
    wait_for(lambda: admin.status("/health/ready") == 200, "the server to be ready")
    (process,) = children(server, admin)
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not Path(f"/proc/{process}").exists() or "Z" in state(process), "the admin's process to end")


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_new_server_takes_it_over() -> None:
    with watched() as (server, admin):
        before = admin.stats()["pid"]
        server.send(signal.SIGUSR2)
        after = wait_for(lambda: next_pid(admin, before), "the new server's figures")
        try:
            server.process.wait(20)
            assert admin.status("/health/ready") == 200
        finally:
            os.kill(after, signal.SIGTERM)
            wait_for(lambda: not Path(f"/proc/{after}").exists() or state(after) == "Z", "the new server to end")


def next_pid(admin: Admin, before: int) -> int:
    with suppress(OSError, http.client.HTTPException, ValueError, KeyError):
        pid = int(admin.stats()["pid"])
        return pid if pid != before else 0
    return 0


def test_a_reload_goes_on_counting() -> None:
    with watched() as (server, admin):
        with server.connect() as sock:
            exchange(sock)
        before = admin.stats_when(lambda stats: stats["totals"]["answered"] == 1, "an answer")
        server.send(signal.SIGHUP)

        def renewed() -> bool:
            with suppress(OSError, http.client.HTTPException):
                stats = admin.stats()
                pids = [worker["pid"] for worker in stats["workers"] if worker["state"] == "ready"]
                return len(pids) == 1 and pids[0] != before["workers"][0]["pid"] and stats["number"] >= 2
            return False

        wait_for(renewed, "the worker to be replaced")
        assert admin.stats()["totals"]["answered"] == 1


def test_it_tells_how_a_reload_goes(app: App, tmp_path: Path) -> None:
    options = tmp_path / "options.toml"
    options.write_text("backlog = 100\n")
    with watched("--config", str(options), target=app.target, quiet=False) as (server, admin):
        assert admin.stats_when(lambda stats: stats["reload"], "a sample")["reload"]["state"] == "none"
        number = admin.stats()["number"]
        (tmp_path / "slow-start").touch()
        server.send(signal.SIGHUP)
        stats = admin.stats_when(lambda stats: stats["reload"]["state"] == "running", "the reload to be told")
        assert (stats["stage"], stats["ready"], stats["reload"]["left"]) == ("serving", True, 1)
        assert sorted(worker["state"] for worker in stats["workers"]) == ["ready", "starting"]
        assert 0 < stats["reload"]["age"] < 30
        (tmp_path / "slow-start").unlink()
        stats = admin.stats_when(lambda stats: stats["reload"]["state"] == "done", "its end")
        assert stats["reload"]["left"] == 0
        assert stats["number"] > number, "the process with the past was replaced"
        (tmp_path / "die").touch()
        server.send(signal.SIGHUP)
        stats = admin.stats_when(lambda stats: stats["reload"]["state"] == "given up", "the failure")
        assert (stats["ready"], stats["reload"]["left"]) == (True, 0)
        options.write_text("backlog = 'many'\n")
        server.send(signal.SIGHUP)
        admin.stats_when(lambda stats: stats["reload"]["state"] == "refused", "the refusal")


def test_an_option_of_its_own_renews_it(tmp_path: Path) -> None:
    options = tmp_path / "options.toml"
    options.write_text("threads = 3\n")
    with watched("--config", str(options)) as (server, admin):
        assert admin.stats()["threads"] == 3
        options.write_text("threads = 4\n")
        server.send(signal.SIGHUP)

        def threads() -> int:
            with suppress(OSError, http.client.HTTPException):
                return int(admin.stats()["threads"])
            return 0

        wait_for(lambda: threads() == 4, "the new option")


# ------------------------------------------------------------ who may ask, and what


@pytest.fixture(scope="module")
def admin() -> Iterator[Admin]:
    """Yield the admin's site of a server that no test changes."""
    with watched() as (_, admin):
        yield admin


def test_a_page_of_another_name_gets_nothing(admin: Admin) -> None:
    port = admin.address[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "192.168.1.5"):
        assert admin.ask("/stats.json", Host=host)[0] == 200
    for host in (f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example"):
        for path in ("/", "/stats.json", "/metrics", "/events", "/health/ready"):
            assert admin.ask(path, Host=host)[0] == 421
    headers = admin.ask("/stats.json")[2]
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_it_only_reads(admin: Admin) -> None:
    for method in ("POST", "PUT", "DELETE"):
        connection = http.client.HTTPConnection(*admin.address, timeout=20)
        connection.request(method, "/stats.json")
        assert connection.getresponse().status == 405
        connection.close()
    assert admin.ask("/elsewhere")[0] == 404
    assert admin.ask("/../etc/passwd")[0] in (400, 404)


def test_the_page_runs_nothing_but_its_own(admin: Admin) -> None:
    status, body, headers = admin.ask("/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.search(rb"(src|href)=[\"']?https?:", body)


def test_streams_leave_places_for_those_who_ask_once(admin: Admin) -> None:
    socks = []
    try:
        for _ in range(40):
            sock = socket.create_connection(admin.address, timeout=20)
            socks.append(sock)
            sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answers = [sock.recv(12) for sock in socks]
        assert answers.count(b"HTTP/1.1 200") == 32
        assert answers.count(b"HTTP/1.1 503") == 8
        assert admin.status("/health/ready") == 200
    finally:
        for sock in socks:
            sock.close()
    stream(admin).close()


def stream(admin: Admin) -> socket.socket:
    """Return a stream of events whose head has begun; a client that has left keeps its place to the next sample."""

    def opened() -> socket.socket | None:
        sock = socket.create_connection(admin.address, timeout=20)
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if sock.recv(12) == b"HTTP/1.1 200":
            return sock
        sock.close()
        return None

    found: socket.socket = wait_for(opened, "a place to be free")
    return found


def test_events_begin_with_the_past_and_go_on(admin: Admin) -> None:
    with stream(admin) as sock:
        data = b""
        until = time.monotonic() + 20
        while data.count(b"event: sample") < 2:
            assert time.monotonic() < until
            data += sock.recv(65536)
        assert data.index(b"event: past") < data.index(b"event: sample")
        numbers = [int(number) for number in re.findall(rb'sample\ndata: {"number":(\d+)', data)]
        assert numbers == [numbers[0], numbers[0] + 1]


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    with serving("run", APP, "--admin", f"unix:{path}") as server:
        assert f"Admin at: unix:{path}" in wait_for(lambda: "Admin at" in server.stderr and server.stderr, "the admin")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(path))
            sock.sendall(b"GET /health/live HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
        server.stop()
        assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--admin", "0.0.0.0:0"], 2, "--admin-hosts"),
        (["--admin", "[::]:0"], 2, "--admin-hosts"),
        (["--admin", "nowhere"], 2, "--admin 'nowhere' is not HOST:PORT"),
    ],
)
def test_a_door_for_all_is_opened_by_who_says_so(arguments: list[str], status: int, words: str) -> None:
    server = Server("run", APP, *arguments)
    assert server.process.wait(20) == status
    assert words in server.stderr
    assert server.stderr.count("\n") == 1
    server.stop()


def test_an_address_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        server = Server("run", APP, "--admin", f"127.0.0.1:{occupied.getsockname()[1]}")
        assert server.process.wait(20) == 1
        assert "--admin takes another address" in server.stderr
        server.stop()


# ------------------------------------------------------------ parts


def test_hosts_that_are_allowed() -> None:
    names = names_of("metrics.internal:9000", "Ops.example, ip")
    for host in ("", "127.0.0.1", "10.0.0.1:80", "[fe80::1]:9", "localhost.", "METRICS.internal:9000", "ops.example"):
        assert is_allowed(host, names), host
    for host in ("example.org", "metrics.internal.evil", "ip.evil", "0x7f000001.evil", "[evil]"):
        assert not is_allowed(host, names), host
    assert is_allowed("example.org", ("*",))


def test_only_loopback_is_ours_alone() -> None:
    for address in ("127.0.0.1:0", "127.8.8.8:1", "[::1]:0", "localhost:80", "unix:/tmp/x"):
        check(address, "")
    for address in ("0.0.0.0:0", ":80", "[::]:1", "10.0.0.1:0", "example.org:0"):
        with pytest.raises(ConfigError):
            check(address, "")
        check(address, "ip")


def test_percentiles_of_buckets() -> None:
    counts = [0] * BUCKETS
    assert percentile(counts, 99) == 0.0
    for milliseconds in range(1, 1001):
        counts[bucket(milliseconds * 1_000_000)] += 1
    for share in (1, 10, 50, 90, 99, 99.9, 100):
        assert percentile(counts, share) == pytest.approx(share / 100, rel=0.065)
    lone = [0] * BUCKETS
    lone[100] = 1
    assert bucket_start(100) <= percentile(lone, 50) * 1e9 <= bucket_start(101)


def test_usage_of_a_process() -> None:
    cpu, memory = usage(os.getpid())
    assert cpu > 0
    assert memory > 1 << 20
    assert usage(1 << 30) == (0.0, 0)

"""Servers behind a proxy that names its client: by a PROXY header at the start, or by fields of a request."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from allcomers import Delimited, Service
from allcomers.connection.codec import Clear
from allcomers.connection.proxy_header import with_proxy_header
from support import offline
from support.certificates import Certificate
from support.harness import Server, receive_all, serving, wait_for

APP = r"""
from allcomers import Delimited, Response, Service

def web(request):
    return Response(f"{request.peer} {request.port} {request.scheme}".encode())

class Greeter(Service):
    framing = Delimited(b"\n")

    def connected(self):
        return f"hello {self.peer}".encode()

    def request(self, data):
        return data.upper()
"""
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KEEP = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2 = SIGNATURE + b"\x21\x21\x00\x2b" + bytes.fromhex("20010db8000000000000000000000001") + b"\0" * 16
V2 += b"\xdc\x04\x01\xbb" + b"\x04\x00\x04abcd"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("app") / "app.py"
    path.write_text(APP)
    return path


def bodies(received: bytes) -> list[str]:
    return [body.decode() for _, _, body in offline.answers(received)]


def ask(server: Server, *pieces: bytes) -> bytes:
    """Send pieces one by one, and return everything that is received up to the end."""
    with server.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            sock.sendall(piece)
        return receive_all(sock)


def each(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# ---------------------------------------------------------------- the PROXY header, of a server


@pytest.fixture(scope="module", params=["thread", "epoll", "asyncio", "process"])
def server(request: pytest.FixtureRequest, app: Path) -> Iterator[Server]:
    log = app.with_name(f"{request.param}.log")
    model = ("-m", request.param, "--access-log", str(log), "--log-level", "debug", "--head-timeout", "2")
    with serving("run", f"{app}:web", "--proxy-protocol", *model) as server:
        server.log = log  # type: ignore[attr-defined]
        yield server


def test_the_peer_is_who_the_proxy_says_in_the_app_and_in_the_log(server: Server) -> None:
    assert bodies(ask(server, V1 + KEEP + CLOSE)) == ["192.0.2.1 56324 http"] * 2
    assert bodies(ask(server, V2 + CLOSE)) == ["2001:db8::1 56324 http"]
    assert bodies(ask(server, *each(V2), CLOSE)) == ["2001:db8::1 56324 http"]
    assert bodies(ask(server, *each(V1 + CLOSE))) == ["192.0.2.1 56324 http"]
    (own,) = bodies(ask(server, LOCAL + CLOSE))
    assert own.startswith("127.0.0.1 ")
    assert bodies(ask(server, b"PROXY UNKNOWN\r\n" + CLOSE))[0].startswith("127.0.0.1 ")
    log: Path = server.log  # type: ignore[attr-defined]
    lines = wait_for(lambda: (read := log.read_text().splitlines())[6:] and read, "the log")
    assert [line.split()[0] for line in lines] == ["192.0.2.1"] * 2 + ["2001:db8::1"] * 2 + ["192.0.2.1"] + [
        "127.0.0.1"
    ] * 2


@pytest.mark.parametrize(
    "data", [CLOSE, b"PROXY TCP4 1.2.3.4\r\n" + CLOSE, b"\x16\x03\x01\x00\xff", SIGNATURE + b"\x11"]
)
def test_who_does_not_begin_so_hears_nothing(server: Server, data: bytes) -> None:
    before = server.stderr.count("DEBUG 127.0.0.1 port ")
    assert ask(server, data) == b""
    wait_for(lambda: server.stderr.count("DEBUG 127.0.0.1 port ") > before, "a line of the log")


def test_bad_input_64_a_second_proxy_line_is_a_malformed_request(server: Server) -> None:
    for header in (V1, V2):
        for second in (V1, V2):
            assert [status for status, _, _ in offline.answers(ask(server, header + second + CLOSE))] == [400]


def test_a_header_must_come_in_time(server: Server) -> None:
    """Check one deadline, from accept on, for the header and the request's head."""
    partial = (b"", V1[:20], V2[:20], V1 + KEEP[:-2])
    socks = [server.connect() for _ in partial]
    for sock, data in zip(socks, partial, strict=True):
        sock.sendall(data)
    received = [receive_all(sock) for sock in socks]
    for sock in socks:
        sock.close()
    assert received[:3] == [b""] * 3
    assert offline.statuses(received[3]) == [408]


def test_a_probe_that_only_connects_costs_nothing(server: Server) -> None:
    server.connect().close()
    assert bodies(ask(server, V1 + CLOSE)) == ["192.0.2.1 56324 http"]


@pytest.mark.parametrize("model", ["thread", "epoll", "asyncio"])
def test_the_header_comes_before_tls(app: Path, certificate: Certificate, model: str) -> None:
    arguments = ("--proxy-protocol", "--certfile", str(certificate.pem), "-m", model)
    with serving("run", f"{app}:web", *arguments) as server, server.connect() as sock:
        sock.sendall(V1)
        with certificate.trusted.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(CLOSE)
            assert bodies(receive_all(tls)) == ["192.0.2.1 56324 https"]
        with server.connect() as plain, pytest.raises((ssl.SSLError, ConnectionResetError)):
            certificate.trusted.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("model", ["thread", "epoll", "asyncio"])
def test_a_service_greets_after_the_header(app: Path, certificate: Certificate, model: str) -> None:
    for tls in (False, True):
        certfile = ("--certfile", str(certificate.pem)) if tls else ()
        with serving("run", f"{app}:Greeter", "--proxy-protocol", "-m", model, *certfile) as server:
            assert ask(server, b"hello\n") == b""
            with server.connect() as sock:
                sock.sendall(V2[:30])
                sock.sendall(V2[30:] if tls else V2[30:] + b"early\n")
                stream = certificate.trusted.wrap_socket(sock, server_hostname="localhost") if tls else sock
                if tls:
                    stream.sendall(b"early\n")
                with stream.makefile("rb") as lines:
                    assert [lines.readline(), lines.readline()] == [b"hello 2001:db8::1\n", b"EARLY\n"]
                stream.close()


# ---------------------------------------------------------------- the PROXY header, of a connection


class Greeter(Service):
    framing = Delimited(b"\n")

    def connected(self) -> bytes:
        return b"hello " + self.peer.encode()

    def request(self, data: bytes) -> bytes:
        return data.upper()


def test_once_the_header_is_there_nothing_is_left_of_it() -> None:
    for far in (offline.http(wrap=with_proxy_header), offline.service(Greeter, wrap=with_proxy_header)):
        assert not far.said
        far.hear_each(V1)
        assert type(far.conn.codec) is Clear
        assert (far.conn.peer, far.conn.port) == ("192.0.2.1", 56324)
    assert far.said == b"hello 192.0.2.1\n"


def test_a_service_waits_for_the_header_before_it_greets() -> None:
    far = offline.service(Greeter, wrap=with_proxy_header)
    far.sleep(9.9)
    assert far.said == b""
    far.hear(V1)
    assert far.said == b"hello 192.0.2.1\n"
    far = offline.service(Greeter, wrap=with_proxy_header)
    far.hear_each(V2 + b"a\nb\n")
    assert far.said == b"hello 2001:db8::1\nA\nB\n"


@pytest.mark.parametrize("partial", [b"", V1[:9], V2[:-1]])
def test_the_time_for_a_head_covers_the_header(partial: bytes) -> None:
    for make in (
        lambda: offline.http(wrap=with_proxy_header),
        lambda: offline.service(Greeter, wrap=with_proxy_header),
    ):
        far = make()
        far.sleep(5)
        if partial:
            far.hear(partial)
        far.sleep(4.999)
        assert not far.closed
        far.sleep(0.002)
        assert far.closed or far.shut
        assert far.said == b""
        far = make()
        if partial:
            far.hear(partial)
        far.end()
        assert far.closed
        assert far.said == b""


def test_time_spent_on_the_header_is_gone_for_the_head() -> None:
    far = offline.http(wrap=with_proxy_header)
    far.sleep(8)
    far.hear(V1 + b"GET / HTTP/1.1\r\n")
    far.sleep(2.001)
    assert offline.statuses(far.said) == [408]


def test_a_header_that_never_ends_is_not_held() -> None:
    far = offline.http(wrap=with_proxy_header)
    far.hear(b"PROXY UNKNOWN " + b"x" * 1_000_000)
    assert far.shut
    assert far.said == b""
    far.sleep(3)
    assert far.closed


# ---------------------------------------------------------------- fields of a request

FORWARDED = (
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"
    b"Connection: close\r\n\r\n"
)


@pytest.mark.parametrize("model", ["thread", "epoll", "asyncio"])
def test_a_trusted_proxy_tells_who_the_client_is(app: Path, model: str) -> None:
    log = app.with_name(f"forwarded-{model}.log")
    arguments = ("-m", model, "--forwarded-allow-ips", "10.0.0.0/8, 127.0.0.1", "--access-log", str(log))
    with serving("run", f"{app}:web", *arguments) as server:
        assert bodies(ask(server, FORWARDED)) == ["198.51.100.7 0 https"]
        (own,) = bodies(ask(server, CLOSE))
        assert own.startswith("127.0.0.1 ")
        # refused in its body: the log knows all the same who it was
        refused = FORWARDED.replace(b"GET", b"POST").replace(b"Connection", b"Transfer-Encoding: chunked\r\nConnection")
        assert offline.statuses(ask(server, refused + b"X\r\n")) == [400]
        lines = wait_for(lambda: len(found := log.read_text().splitlines()) == 3 and found, "three lines")
    assert [(line.split()[0], line.split()[8]) for line in lines] == [
        ("198.51.100.7", "200"), ("127.0.0.1", "200"), ("198.51.100.7", "400"),
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", [b"X-Forwarded-Proto: https\r\n", b""])
def test_fields_that_came_before_count_from_a_trusted_peer_alone(app: Path, scheme: bytes) -> None:
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\n" + scheme + b"\r\n"
    found = "198.51.100.7 0 https" if scheme else "198.51.100.7 0 http"
    with serving("run", f"{app}:web", "--forwarded-allow-ips", "127.0.0.1") as server:
        for _ in range(2):
            assert bodies(ask(server, asked * 4 + CLOSE))[:4] == [found] * 4
            with socket.create_connection(server.address, source_address=("127.0.0.2", 0)) as sock:
                sock.sendall(asked * 4 + CLOSE)
                own = bodies(receive_all(sock))
            assert [body.split()[::2] for body in own] == [["127.0.0.2", "http"]] * 5


def test_nobody_is_trusted_unless_told_so(app: Path, tmp_path: Path) -> None:
    with serving("run", f"{app}:web") as server:
        assert bodies(ask(server, FORWARDED))[0].startswith("127.0.0.1 ")
    with serving("run", f"{app}:web", "--forwarded-allow-ips", "10.0.0.0/8,unix") as server:
        assert bodies(ask(server, FORWARDED))[0].startswith("127.0.0.1 ")


def test_a_proxy_on_a_unix_socket(app: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        serving("run", f"{app}:web", "--forwarded-allow-ips", "unix", bind=f"unix:{path}"),
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.connect(str(path))
        sock.sendall(FORWARDED)
        assert bodies(receive_all(sock)) == ["198.51.100.7 0 https"]


def test_who_the_proxy_header_names_is_who_is_trusted_or_not(app: Path) -> None:
    """Trust, behind a TCP load balancer, the peer that it names: a known proxy, or not."""
    with serving("run", f"{app}:web", "--proxy-protocol", "--forwarded-allow-ips", "192.0.2.1") as server:
        assert bodies(ask(server, V1 + FORWARDED)) == ["198.51.100.7 0 https"]
        assert bodies(ask(server, V2 + FORWARDED)) == ["2001:db8::1 56324 http"]


def test_a_list_that_cannot_be_read_is_told_in_one_line(app: Path) -> None:
    command = [sys.executable, "-m", "allcomers", "run", f"{app}:web", "-b", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, "--forwarded-allow-ips", "localhost"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "--forwarded-allow-ips: 'localhost' is no address and no network" in done.stderr
    assert "Traceback" not in done.stderr

"""Listeners without TLS beside those with it, and redirects to HTTPS, under each kind of model."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys

import pytest

from allcomers.config import options
from allcomers.errors import ConfigError
from support.certificates import Certificate
from support.harness import ROOT, Server, receive_all, serving, wait_for

APPS = "tests/support/apps/joined.py"


def addresses(server: Server) -> list[tuple[str, str, int]]:
    """Return (scheme, host, port) of each address that it has announced last."""
    found = re.findall(r"Listening at: (\w+)://(.+):(\d+) \(pid (\d+)\)", server.stderr)
    return [(scheme, host, int(port)) for scheme, host, port, pid in found if pid == found[-1][3]]


def connected(port: int, tls: ssl.SSLContext | None = None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    return tls.wrap_socket(sock, server_hostname="localhost") if tls else sock


def ask(port: int, head: str, tls: ssl.SSLContext | None = None) -> bytes:
    with connected(port, tls) as sock:
        sock.sendall(head.encode() + b"\r\n\r\n")
        return receive_all(sock)


GET = "GET /x?y=%20 HTTP/1.1\r\nHost: localhost\r\nConnection: close"


@pytest.mark.parametrize(
    ("app", "model", "pure"),
    [
        ("wsgi", "epoll", ""), ("wsgi", "thread", ""), ("first", "asyncio", ""), ("first", "epoll", ""),
        ("first", "thread", ""), ("mixed", "asyncio", "1"), ("Seen", "epoll", "1"), ("Seen", "process", ""),
    ],
)  # fmt: skip
def test_the_scheme_is_the_listeners(app: str, model: str, pure: str, certificate: Certificate) -> None:
    arguments = ["--certfile", str(certificate.pem), "--bind-plain", "127.0.0.1:0", "--redirect-https", "127.0.0.1:0"]
    with serving("run", f"{APPS}:{app}", *arguments, "--model", model, env={"ALLCOMERS_PURE": pure}) as server:
        (secure, _, https), (plain, _, http), (other, _, redirect) = addresses(server)
        assert (secure, plain, other) == ("https", "http", "http")
        for _ in range(2):
            for scheme, port, tls in (("https", https, certificate.trusted), ("http", http, None)):
                found = ask(port, GET, tls)
                assert found.startswith(b"HTTP/1.1 200 OK"), found
                assert json.loads(found.partition(b"\r\n\r\n")[2])["scheme"] == scheme
            found = ask(redirect, GET)
            assert found.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n")
            assert f"Location: https://localhost:{https}/x?y=%20\r\n".encode() in found
        with socket.create_connection(("127.0.0.1", http), timeout=20) as sock:  # kept alive, in the clear
            for _ in range(3):
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_where_a_redirect_leads(certificate: Certificate) -> None:
    arguments = ["--certfile", str(certificate.pem), "--redirect-https", "127.0.0.1:0"]
    with serving("run", f"{APPS}:first", *arguments) as server:
        (_, _, https), (_, _, port) = addresses(server)
        for head, status, location in (
            ("GET / HTTP/1.1\r\nHost: localhost:8080", 308, f"https://localhost:{https}/"),
            ("GET / HTTP/1.1\r\nHost: LOCALHOST.", 308, f"https://LOCALHOST.:{https}/"),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1", 308, f"https://127.0.0.1:{https}/"),
            ("GET //evil.test/ HTTP/1.1\r\nHost: localhost", 308, f"https://localhost:{https}//evil.test/"),
            ("GET http://localhost/p HTTP/1.1\r\nHost: localhost", 308, f"https://localhost:{https}/p"),
            ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999", 308, f"https://localhost:{https}/"),
            ("GET / HTTP/1.1\r\nHost: evil.test", 421, ""),
            ("GET / HTTP/1.1\r\nHost: [::1]", 421, ""),
            ("GET / HTTP/1.0", 400, ""),
            ("GET / HTTP/1.1", 400, ""),
            ("OPTIONS * HTTP/1.1\r\nHost: localhost", 400, ""),
            ("GET / HTTP/1.1\r\nHost: a/b", 400, ""),
        ):
            found = ask(port, head)
            assert found.startswith(f"HTTP/1.1 {status} ".encode()), (head, found)
            given = re.search(rb"Location: (.*)\r\n", found)
            assert (given[1].decode() if given else "") == location, head


def test_curl_follows_it_to_the_files(certificate: Certificate) -> None:
    arguments = ["--certfile", str(certificate.pem), "--redirect-https", "127.0.0.1:0"]
    with serving("serve", "examples/site", *arguments) as server:
        curl = ["curl", "-sSkL", "-o", os.devnull, "-w", "%{http_code} %{scheme} %{num_redirects}"]
        url = f"http://localhost:{addresses(server)[1][2]}/"
        done = subprocess.run([*curl, "-4", url], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.upper() == "200 HTTPS 1"


def test_a_service_in_the_clear_beside_tls(certificate: Certificate) -> None:
    arguments = ["--certfile", str(certificate.pem), "--bind-plain", "127.0.0.1:0"]
    with serving("run", f"{APPS}:Echo", *arguments) as server:
        (secure, _, port), (plain, _, other) = addresses(server)
        assert (secure, plain) == ("tls", "tcp")
        for at, tls in ((port, certificate.trusted), (other, None)):
            with connected(at, tls) as sock:
                sock.sendall(b"hello")
                assert sock.recv(100) == b"hello"


def test_a_service_cannot_be_redirected(certificate: Certificate) -> None:
    server = Server("run", f"{APPS}:Echo", "--certfile", str(certificate.pem), "--redirect-https", "127.0.0.1:0")
    assert server.process.wait(30) == 3
    server.stop()
    assert "--redirect-https is for HTTP" in server.stderr


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR2])
def test_a_new_server_keeps_what_is_plain(signum: signal.Signals, certificate: Certificate) -> None:
    arguments = ["--certfile", str(certificate.pem), "--bind-plain", "127.0.0.1:0", "--redirect-https", "127.0.0.1:0"]
    server = Server("run", f"{APPS}:first", *arguments)
    before = addresses(server)
    started = len(re.findall("first started", server.stderr))
    server.send(signum)
    wait_for(lambda: len(re.findall("first started", server.stderr)) > started, "the new worker")
    if signum is signal.SIGUSR2:
        assert server.process.wait(30) == 0
    new = int(re.findall(r"Listening at: .* \(pid (\d+)\)", server.stderr)[-1])
    try:
        assert addresses(server) == before
        (_, _, https), (_, _, http), (_, _, redirect) = before
        assert ask(https, GET, certificate.trusted).startswith(b"HTTP/1.1 200")
        assert ask(http, GET).startswith(b"HTTP/1.1 200")
        assert ask(redirect, GET).startswith(b"HTTP/1.1 308")
    finally:
        os.kill(new, signal.SIGTERM)
        wait_for(lambda: not os.path.exists(f"/proc/{new}") or server.process.poll() is not None, "the end")  # noqa: PTH110
        server.stop()


@pytest.mark.parametrize("option", ["bind_plain", "redirect_https"])
def test_without_tls_there_is_nothing_beside_it(option: str) -> None:
    with pytest.raises(ConfigError, match="they need --certfile"):
        options.make({option: ["127.0.0.1:1"]})
    with pytest.raises(ConfigError, match="is given twice"):
        options.make({option: ["127.0.0.1:1"], "certfile": ["a"], "bind": ["127.0.0.1:1"]})
    with pytest.raises(ConfigError, match="for this machine alone"):
        options.make({option: ["0.0.0.0:1"], "tls_self_signed": "on"})


def test_check_config_names_all_addresses(certificate: Certificate) -> None:
    arguments = ["--certfile", str(certificate.pem), "--redirect-https", "127.0.0.1:8081", "--check-config"]
    done = subprocess.run(
        [sys.executable, "-m", "allcomers", "serve", "examples/site", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "on 127.0.0.1:8000, 127.0.0.1:8081:" in done.stdout

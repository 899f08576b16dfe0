"""Versions, suites, passwords of keys, clients' certificates and certificates made here, as clients meet them."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from allcomers.config import options
from allcomers.connection.tls import PLAIN_HTTP
from allcomers.errors import ConfigError
from support.certificates import Certificate
from support.harness import ROOT, Server, ask, receive_all, serving, wait_for

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SECRET = "correct horse"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def encrypted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(chain, encrypted key) of localhost."""
    folder = tmp_path_factory.mktemp("encrypted")
    made = authority.issue_cert("localhost")
    key = serialization.load_pem_private_key(made.private_key_pem.bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(SECRET.encode()),
    )
    (folder / "key").write_bytes(key)
    made.cert_chain_pems[0].write_to_path(folder / "chain")
    return str(folder / "chain"), str(folder / "key")


def client_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def status_of(server: Server, client: ssl.SSLContext) -> bytes:
    with server.connect(client) as sock:
        sock.sendall(REQUEST)
        return receive_all(sock).split(b"\r\n", 1)[0]


def refusal(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Return what a server says that does not start."""
    command = [sys.executable, "-m", "allcomers", "serve", "examples/site", "--bind", "127.0.0.1:0", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    return done.stderr.strip()


# ---------------------------------------------------------------- versions and suites


def test_tls_1_3_alone(certificate: Certificate) -> None:
    new, old = (ssl.create_default_context() for _ in "ab")
    for client in (new, old):
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving("serve", "examples/site", "--certfile", str(certificate.pem), "--tls-min", "1.3") as server:
        assert status_of(server, new) == b"HTTP/1.1 200 OK"
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
            server.connect(old)


def test_openssl_meets_the_suite_that_was_named(certificate: Certificate) -> None:
    name = "ECDHE-ECDSA-CHACHA20-POLY1305"
    with serving("serve", "examples/site", "--certfile", str(certificate.pem), "--ciphers", name) as server:
        for asked, found in ((name, True), ("ECDHE-ECDSA-AES256-GCM-SHA384", False)):
            done = subprocess.run(
                ["openssl", "s_client", "-connect", "{}:{}".format(*server.address), "-tls1_2", "-cipher", asked],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert (f"Cipher is {name}" in done.stdout) is found, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("ciphers", "says"),
    [
        ("ECDHE+AESGCM:NOSUCH", "--ciphers 'NOSUCH': OpenSSL has no such suite here"),
        ("TLS_AES_128_GCM_SHA256", "the suites of TLS 1.3 are always offered"),
        ("ECDHE+AESGCM:!ALL", "it leaves no suite"),
    ],
)
def test_a_suite_that_cannot_be_had_is_told_in_one_line(certificate: Certificate, ciphers: str, says: str) -> None:
    line = refusal("--certfile", str(certificate.pem), "--ciphers", ciphers)
    assert says in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"client_cert": "optional", "certfile": ["a"]}, "--client-cert needs --ca-certs"),
        ({"ca_certs": "a"}, "--ca-certs need --certfile"),
        ({"keyfile_password_file": "a"}, "--keyfile-password-file and --ca-certs need"),
        ({"certfile": ["a"], "ciphers": "A", "tls_min": "1.3"}, "--ciphers is for TLS 1.2"),
        ({"tls_self_signed": "on", "certfile": ["a"]}, "give one of them"),
        ({"tls_self_signed": "on", "bind": ["0.0.0.0:1"]}, "for this machine alone"),
        ({"tls_self_signed": "on", "bind": [":1"]}, "for this machine alone"),
        ({"tls_self_signed": "on", "bind": ["127.0.0.1.example.org:1"]}, "for this machine alone"),
        ({"tls_min": "1.1"}, "choose one of 1.2, 1.3"),
    ],
)
def test_options_that_do_not_go_together(given: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        options.make(given)


# ---------------------------------------------------------------- passwords


@pytest.mark.parametrize("source", ["file", "environment"])
def test_the_password_of_a_key_also_after_a_reload_and_never_shown(
    source: str, encrypted: tuple[str, str], authority: trustme.CA, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(
        "import os\ndef app(environ, start_response):\n"
        "    start_response('200 OK', [])\n    return [str(os.getpid()).encode(), repr(dict(os.environ)).encode()]\n"
    )
    (tmp_path / "password").write_text(f"{SECRET}\n")
    chain, key = encrypted
    file = ["--keyfile-password-file", "password"] if source == "file" else []
    env = {"ALLCOMERS_KEYFILE_PASSWORD": SECRET} if source == "environment" else {}
    arguments = ["run", "app.py:app", "--certfile", chain, "--keyfile", key, *file]
    client = client_of(authority)
    with serving(*arguments, cwd=tmp_path, env=env) as server:

        def response() -> bytes:
            with server.connect(client) as sock:
                sock.sendall(REQUEST)
                return receive_all(sock).partition(b"\r\n\r\n")[2]

        before = response()
        assert SECRET.encode() not in before
        server.send(signal.SIGHUP)
        wait_for(lambda: response() != before, "the new worker")
        shown = subprocess.run(
            [sys.executable, "-m", "allcomers", *arguments, "--print-config"],
            cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        assert SECRET not in shown.stdout + shown.stderr + server.stderr
        assert "no option" not in shown.stderr


@pytest.mark.parametrize(
    ("password", "says"),
    [
        (None, "the key is encrypted: name a file with its password by --keyfile-password-file"),
        ("wrong", "the password does not decrypt the key"),
        ("x" * 2000, "the password does not decrypt the key"),
    ],
)
def test_a_key_without_its_password_is_no_prompt(encrypted: tuple[str, str], password: str | None, says: str) -> None:
    chain, key = encrypted
    env = {} if password is None else {"ALLCOMERS_KEYFILE_PASSWORD": password}
    line = refusal("--certfile", chain, "--keyfile", key, env=env)
    assert f"--keyfile {key!r}: {says}" in line
    assert "\n" not in line
    assert "wrong" not in line


def test_a_password_file_that_is_not_there(encrypted: tuple[str, str]) -> None:
    chain, key = encrypted
    line = refusal("--certfile", chain, "--keyfile", key, "--keyfile-password-file", "nowhere")
    assert line.endswith("--keyfile-password-file 'nowhere': No such file or directory")


# ---------------------------------------------------------------- clients' certificates


@pytest.mark.parametrize(("how", "without"), [("optional", True), ("required", False)])
def test_a_clients_certificate(
    how: str, without: bool, certificate: Certificate, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files = {"known": authority.issue_cert("client"), "strange": trustme.CA().issue_cert("client")}
    arguments = ["--certfile", str(certificate.pem), "--ca-certs", str(tmp_path / "ca.pem"), "--client-cert", how]
    with serving("serve", "examples/site", *arguments) as server:
        for name, is_served in (("known", True), ("strange", False), ("none", without)):
            client = ssl.create_default_context()
            client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
            if name in files:
                files[name].configure_cert(client)
            status = b""
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                status = status_of(server, client)
            assert status == (b"HTTP/1.1 200 OK" if is_served else b""), name


# ---------------------------------------------------------------- a certificate made here


def test_a_certificate_for_this_machine_is_made_and_kept(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    path = tmp_path / "allcomers" / "localhost.pem"
    made: list[bytes] = []
    for bind in ("127.0.0.1:0", "localhost:0"):
        with serving("serve", "examples/site", "--tls-self-signed", bind=bind, env=env) as server:
            client = ssl.create_default_context(cafile=str(path))
            for name in ("localhost", "127.0.0.1"):
                with client.wrap_socket(server.connect(), server_hostname=name) as sock:
                    sock.sendall(REQUEST)
                    assert receive_all(sock).startswith(b"HTTP/1.1 200 OK")
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_certificate_that_others_could_read_or_that_ends_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allcomers.server.tls.self_signed import local_certificate

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = Path(local_certificate())
    first = path.read_bytes()
    assert Path(local_certificate()).read_bytes() == first
    path.chmod(0o644)
    second = Path(local_certificate()).read_bytes()
    assert second != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.utime(path, (0, path.stat().st_mtime - 29.5 * 24 * 3600))
    assert Path(local_certificate()).read_bytes() != second


def test_without_the_command_it_says_what_to_install(tmp_path: Path) -> None:
    line = refusal("--tls-self-signed", env={"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)})
    assert "--tls-self-signed needs the command `openssl`" in line
    assert "\n" not in line


# ---------------------------------------------------------------- plain HTTP at a port of TLS


@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("model", ["epoll", "asyncio", "thread"])
def test_plain_http_gets_a_400_that_says_so(certificate: Certificate, model: str, pure: str) -> None:
    # Three bytes may become a ClientHello: they are waited for.
    arguments = ["--certfile", str(certificate.pem), "--model", model, "--head-timeout", "3"]
    with serving("serve", "examples/site", *arguments, env={"ALLCOMERS_PURE": pure}) as server:
        for request in (
            REQUEST,
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
        ):
            assert ask(server, request) == PLAIN_HTTP, request
        with server.connect() as sock:  # byte by byte
            for at in range(6):
                sock.sendall(REQUEST[at : at + 1])
            assert receive_all(sock) == PLAIN_HTTP
        curl = ["curl", "-s", "-o", "-", "-w", "%{http_code}", "http://{}:{}/".format(*server.address)]
        done = subprocess.run(curl, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.endswith("use https://.\n400")
        for garbage in (b"SSH-2.0-x\r\n", b"\x00\x01\x02", b"GETGETGETGETGETGETGETGETGET / HTTP/1.1\r\n\r\n"):
            assert not ask(server, garbage).startswith(b"HTTP/"), garbage
        assert status_of(server, certificate.trusted) == b"HTTP/1.1 200 OK"


def test_a_service_within_tls_speaks_no_http(certificate: Certificate) -> None:
    with serving("run", "examples/echo.py:Echo", "--certfile", str(certificate.pem)) as server:
        assert not ask(server, REQUEST).startswith(b"HTTP/")


def test_a_word_that_never_ends_meets_the_deadline(certificate: Certificate) -> None:
    arguments = ["--certfile", str(certificate.pem), "--head-timeout", "2"]
    with serving("serve", "examples/site", *arguments) as server, server.connect() as sock:
        sock.sendall(b"GE")
        assert sock.recv(100) == b""

"""TLS: the certificate for each client, errors for the operator, reloading, and records on the wire."""

from __future__ import annotations

import contextlib
import datetime
import logging
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from allcomers.errors import ConfigError
from allcomers.server.tls.certificates import server_context
from support.harness import Server, receive_all, serving, wait_for

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
PENDING = datetime.datetime(2300, 1, 1, tzinfo=datetime.UTC)
HTTP = ["http/1.1"]


class Shop:
    """Certificates in files, by their names, from one authority.

    trusted  a client's context that trusts the authority
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        self.trusted = ssl.create_default_context()
        self.authority.configure_trust(self.trusted)

    def pem(self, *names: str, file: str = "", **how: datetime.datetime) -> str:
        """Write a file with the chain and the key of a certificate."""
        path = self.folder / (file or f"{names[0].replace('*', '_')}.pem")
        self.authority.issue_cert(*names, **how).private_key_and_cert_chain_pem.write_to_path(path)
        return str(path)

    def pair(self, name: str) -> tuple[str, str]:
        """Write (chain, key) to two files."""
        certificate = self.authority.issue_cert(name)
        chain, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(key)
        return str(chain), str(key)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


class Memory:
    """A client and a server's context, connected in memory, after their handshake."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> None:
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.near = server.wrap_bio(there, back, server_side=True)
        self.far = client.wrap_bio(back, there, server_hostname=name)
        for side in (self.far, self.near, self.far, self.near):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()


def client_of(shop: Shop) -> ssl.SSLContext:
    """Return a client's context that trusts the shop and checks no name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    shop.authority.configure_trust(context)
    return context


def names_shown(server: ssl.SSLContext, shop: Shop, requested: str | None) -> list[str]:
    """Return the names in the certificate for a client that requests `requested`."""
    shown = Memory(server, client_of(shop), requested).far.getpeercert()
    assert shown
    return [value for _, value in shown["subjectAltName"]]


# ---------------------------------------------------------------- several certificates


@pytest.fixture(scope="module")
def several(shop: Shop) -> ssl.SSLContext:
    files = [shop.pem("first.test", "127.0.0.1"), shop.pem("*.example.test"), shop.pem("www.example.test", "b.test")]
    return server_context(files, [], "", HTTP)


@pytest.mark.parametrize(
    ("requested", "shown"),
    [
        ("first.test", "first.test"),
        ("a.example.test", "*.example.test"),
        ("A.Example.TEST", "*.example.test"),
        ("www.example.test", "www.example.test"),  # exactly: before a wildcard
        ("b.test", "www.example.test"),
        ("a.b.test", "first.test"),
        ("example.test", "first.test"),  # a wildcard is one label, and never none
        ("a.b.example.test", "first.test"),
        ("unknown", "first.test"),
        (None, "first.test"),
    ],
)
def test_the_name_asked_for_chooses_the_certificate(
    several: ssl.SSLContext, shop: Shop, requested: str | None, shown: str
) -> None:
    assert names_shown(several, shop, requested)[0] == shown


def test_alpn_takes_http_1_1_whatever_certificate_is_shown(several: ssl.SSLContext, shop: Shop) -> None:
    client = client_of(shop)
    client.set_alpn_protocols(["h2", "http/1.1"])
    for name in ("first.test", "b.test"):
        assert Memory(several, client, name).far.selected_alpn_protocol() == "http/1.1"


def test_suites_of_tls_1_2_have_aead_and_forward_secrecy(several: ssl.SSLContext, shop: Shop) -> None:
    """RFC 9325, 4.2. OpenSSL's own list has CBC with SHA-2 as well."""
    suites = [suite for suite in several.get_ciphers() if suite["protocol"] == "TLSv1.2"]
    assert len(suites) >= 4
    assert all(suite["aead"] and suite["kea"] == "kx-ecdhe" for suite in suites)
    for name, accepted in (("ECDHE+AESGCM", True), ("ECDHE+CHACHA20", True), ("ECDHE+SHA256:ECDHE+SHA384", False)):
        client = client_of(shop)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(name if accepted else name + ":!AESGCM:!CHACHA20")
        with contextlib.nullcontext() if accepted else pytest.raises(ssl.SSLError):
            assert Memory(several, client, "first.test").far.cipher()


@pytest.mark.parametrize(
    ("version", "models"), [(ssl.TLSVersion.TLSv1_2, ["epoll"]), (ssl.TLSVersion.TLSv1_3, ["thread", "asyncio"])]
)
def test_a_client_with_no_protocol_in_common_gets_the_alert(
    shop: Shop, version: ssl.TLSVersion, models: list[str]
) -> None:
    """RFC 7301, 3.2: a client that speaks HTTP/2 alone is told so, rather than answered in HTTP/1.1."""
    for model in models:
        options = "--certfile", shop.pem("localhost"), "--http", "1.1"
        with serving("serve", "examples/site", *options, "-m", model) as server:
            for offered, accepted in ((["h2"], False), (["h2", "http/1.1"], True), ([], True)):
                client = client_of(shop)
                client.minimum_version = client.maximum_version = version
                if offered:
                    client.set_alpn_protocols(offered)
                if accepted:
                    with client.wrap_socket(server.connect(), server_hostname="localhost") as sock:
                        assert sock.selected_alpn_protocol() == ("http/1.1" if offered else None)
                        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                        assert receive_all(sock).startswith(b"HTTP/1.1 200 OK\r\n")
                else:
                    with server.connect() as plain, pytest.raises(ssl.SSLError, match="no application protocol"):
                        client.wrap_socket(plain, server_hostname="localhost")


def test_a_client_must_show_its_own_whatever_certificate_is_shown(shop: Shop) -> None:
    files = [shop.pem("first.test"), shop.pem("second.test")]
    server = server_context(files, [], str(shop.folder / "ca.pem"), HTTP)
    for name in ("first.test", "second.test"):
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            Memory(server, client_of(shop), name)
        client = client_of(shop)
        client.load_cert_chain(shop.pem("client.test"))
        assert Memory(server, client, name).near.getpeercert()


def test_chains_and_keys_in_files_of_their_own(shop: Shop) -> None:
    pairs = [shop.pair("one.test"), shop.pair("two.test")]
    server = server_context([chain for chain, _ in pairs], [key for _, key in pairs], "", HTTP)
    assert names_shown(server, shop, "two.test") == ["two.test"]


def test_a_subject_without_names_of_its_own_is_a_name_itself(shop: Shop) -> None:
    """Cover certificates of `openssl req -subj /CN=old.test`: browsers refuse them, scripts accept them."""
    from allcomers.server.tls.certificates import _names

    assert _names({"subject": ((("organizationName", "x"),), (("commonName", "Old.test"),))}) == ["old.test"]
    assert _names({"subject": ((("commonName", "x"),),), "subjectAltName": (("DNS", "a"), ("IP Address", "::1"))}) == [
        "a"
    ]


# ---------------------------------------------------------------- errors for the operator


@pytest.fixture(scope="module")
def files(shop: Shop) -> dict[str, str]:
    """Return files by their content."""
    key = shop.authority.issue_cert("a.test").private_key_pem.bytes()
    loaded = serialization.load_pem_private_key(key, None)
    encrypted = loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    chain, its_key = shop.pair("pair.test")
    made = {
        "nothing": b"",
        "words": b"hello",
        "der": ssl.PEM_cert_to_DER_cert(shop.authority.cert_pem.bytes().decode()),
        "broken": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----",
        "encrypted": encrypted,
        "chain and encrypted": Path(chain).read_bytes() + encrypted,
    }
    found = {name: shop.folder / name for name in made}
    for name, data in made.items():
        found[name].write_bytes(data)
    both, other = shop.pem("both.test"), shop.pem("other.test")
    return {
        **{name: str(path) for name, path in found.items()},
        "chain": chain, "key": its_key, "both": both, "other": other, "nowhere": "nowhere.pem",
        "folder": str(shop.folder), "no host": shop.pem("127.0.0.1", file="address.pem"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("certfiles", "keyfiles", "at", "says"),
    [
        (["nowhere"], [], "--certfile nowhere", "No such file or directory"),
        (["chain"], ["nowhere"], "--keyfile nowhere", "No such file or directory"),
        (["folder"], [], "--certfile folder", "Is a directory"),
        (["nothing"], [], "--certfile nothing", "there is no CERTIFICATE in PEM form in it"),
        (["words"], ["key"], "--certfile words", "there is no CERTIFICATE in PEM form in it"),
        (["key"], [], "--certfile key", "there is no CERTIFICATE in PEM form in it"),
        (["chain"], [], "--certfile chain", "there is no PRIVATE KEY in PEM form in it"),
        (["chain"], ["words"], "--keyfile words", "there is no PRIVATE KEY in PEM form in it"),
        (["der"], [], "--certfile der", "looks like DER"),
        (["broken"], [], "--certfile broken", "no usable certificate and key in PEM form"),
        (["chain"], ["other"], "--keyfile other", "the key is not that of the first certificate in"),
        (["chain"], ["encrypted"], "--keyfile encrypted", "the key is encrypted"),
        (["chain and encrypted"], [], "--certfile chain and encrypted", "the key is encrypted"),
        (["both"], ["both", "other"], "--keyfile", "there are 2 for 1 --certfile"),
        (["both", "other"], ["both"], "--keyfile", "there are 1 for 2 --certfile"),
        (["both", "both"], [], "--certfile both", "certificates before it have all of its names"),
        (["both", "no host"], [], "--certfile no host", "it names no host"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_told_in_one_line(
    files: dict[str, str], certfiles: list[str], keyfiles: list[str], at: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        server_context([files[name] for name in certfiles], [files[name] for name in keyfiles], "", HTTP)
    line = str(caught.value)
    flag, _, name = at.partition(" ")
    assert line.startswith(f"{flag} {files[name]!r}: " if name else f"{flag}: ")
    assert says in line
    assert "\n" not in line


@pytest.mark.skipif("os.geteuid() == 0", reason="root may read everything")
def test_a_key_that_must_not_be_read_is_told(shop: Shop) -> None:
    chain, key = shop.pair("closed.test")
    Path(key).chmod(0)
    with pytest.raises(ConfigError, match=r"--keyfile .*: Permission denied"):
        server_context([chain], [key], "", HTTP)


def test_authorities_that_cannot_be_used_are_told(files: dict[str, str]) -> None:
    for name, says in (("nowhere", "No such file"), ("words", "no usable certificate in PEM form")):
        with pytest.raises(ConfigError, match=f"--ca-certs .*: {says}"):
            server_context([files["both"]], [], files[name], HTTP)


@pytest.mark.parametrize(
    ("dates", "says"),
    [
        ({"not_after": LONG_AGO}, "has expired"),
        ({"not_before": PENDING, "not_after": PENDING + datetime.timedelta(1)}, "is not yet valid"),
    ],
)
def test_a_certificate_out_of_its_time_is_told_and_served(
    shop: Shop, caplog: pytest.LogCaptureFixture, dates: dict[str, datetime.datetime], says: str
) -> None:
    """Start with such a certificate, too: a restart must not depend on the day."""
    stale = shop.pem("stale.test", **dates)
    with caplog.at_level(logging.WARNING, "allcomers.tls"):
        server = server_context([shop.pem("first.test"), stale], [], "", HTTP)
    (record,) = caplog.records
    assert record.getMessage() == f"--certfile {stale!r}: clients will refuse it: certificate {says}"
    with pytest.raises(ssl.SSLCertVerificationError, match=says):
        names_shown(server, shop, "stale.test")  # its names were read all the same
    assert names_shown(server, shop, "first.test") == ["first.test"]
    server_context([stale], [], "", HTTP)


# ---------------------------------------------------------------- a server


def shown_by(server: Server, shop: Shop, name: str) -> str:
    """Return the serial number of the certificate that a client gets."""
    with shop.trusted.wrap_socket(server.connect(), server_hostname=name) as sock:
        shown = sock.getpeercert()
        assert shown
        return str(shown["serialNumber"])


def test_a_client_that_offers_http_2_gets_http_1_1_where_nothing_else_is_spoken(shop: Shop) -> None:
    context = client_of(shop)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        serving("serve", "examples/site", "--certfile", shop.pem("localhost"), "--http", "1.1") as server,
        context.wrap_socket(server.connect(), server_hostname="localhost") as sock,
    ):
        assert sock.selected_alpn_protocol() == "http/1.1"
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert receive_all(sock).startswith(b"HTTP/1.1 200 OK\r\n")


def test_hup_reloads_all_certificates_and_keeps_the_old_where_the_new_are_bad(shop: Shop) -> None:
    first, second = shop.pem("localhost"), shop.pem("second.test")
    names = ("localhost", "second.test")
    with serving("serve", "examples/site", "--certfile", first, "--certfile", second) as server:
        old = [shown_by(server, shop, name) for name in names]
        shop.pem("localhost")
        shop.pem("second.test")
        assert [shown_by(server, shop, name) for name in names] == old
        with shop.trusted.wrap_socket(server.connect(), server_hostname="localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n")
            server.send(signal.SIGHUP)
            wait_for(lambda: shown_by(server, shop, "localhost") != old[0], "the new certificate")
            sock.sendall(b"Host: localhost\r\n\r\n")  # who was here is served to the end
            assert receive_all(sock).startswith(b"HTTP/1.1 200 OK\r\n")
        new = [shown_by(server, shop, name) for name in names]
        assert new[1] != old[1]
        Path(second).write_text("broken")
        server.send(signal.SIGHUP)
        wait_for(lambda: "the reload is given up" in server.stderr, "the reload to fail")
        assert f"--certfile {second!r}: there is no CERTIFICATE in PEM form in it" in server.stderr
        assert [shown_by(server, shop, name) for name in names] == new


# ---------------------------------------------------------------- records


class Wire:
    """A TLS client that sees the records as they arrive (RFC 8446, 5.1)."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self.sock = server.connect()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._raw = b""
        while True:
            try:
                self._engine.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._give_and_take()
        self._give()

    def _give(self) -> None:
        self.sock.sendall(self._out.read())

    def _give_and_take(self) -> None:
        self._give()
        data = self.sock.recv(65536)
        assert data
        self._raw += data
        self._in.write(data)

    def ask(self, request: bytes, size: int) -> list[int]:
        """Return the lengths of the records of a response of `size` bytes, after its head."""
        self._raw = b""
        self._engine.write(request)
        answer = b""
        while len(answer.partition(b"\r\n\r\n")[2]) < size:
            try:
                answer += self._engine.read(65536)
            except ssl.SSLWantReadError:
                self._give_and_take()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        return list(self._lengths())

    def _lengths(self) -> Iterator[int]:
        raw = self._raw
        while raw:
            kind, length = raw[0], int.from_bytes(raw[3:5], "big")
            assert kind == 23  # application data
            yield length
            raw = raw[5 + length :]


APP = """
from allcomers import Response
def app(request):
    size = int(request.query)
    if request.path == "/piece":
        return Response([b"x" * size], headers=[("Content-Length", str(size))])
    return Response(b"x" * size)
"""


def test_an_answer_that_fits_is_one_record(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    site = tmp_path / "site"
    site.mkdir()
    for size in (1, 1024, 15_000, 16_384, 100_000):
        (site / str(size)).write_bytes(b"x" * size)
    pem = shop.pem("localhost")
    tls12 = client_of(shop)
    tls12.maximum_version = ssl.TLSVersion.TLSv1_2
    get = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n".format
    for context in (client_of(shop), tls12):
        with serving("serve", str(site), "--certfile", pem) as server:
            wire = Wire(server, context)
            counts = [len(wire.ask(get(f"/{size}").encode(), size)) for size in (1, 1, 1024, 15_000, 16_384, 100_000)]
            # Not the first: TLS 1.3 sends its session tickets as such records too, behind the handshake.
            assert counts[1:] == [1, 1, 1, 2, 7]
            wire.sock.close()
        with serving("run", f"{tmp_path}/app.py:app", "--certfile", pem) as server:
            wire = Wire(server, context)
            paths = [("/", 1), ("/", 1), ("/", 1024), ("/", 15_000), ("/piece", 100), ("/", 40_000)]
            counts = [len(wire.ask(get(f"{path}?{size}").encode(), size)) for path, size in paths]
            assert counts[1:] == [1, 1, 1, 1, 3]
            wire.sock.close()

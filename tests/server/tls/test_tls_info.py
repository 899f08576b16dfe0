"""What apps learn of TLS: ASGI's extension, WSGI's SSL_ variables, a Web handler's request.tls."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from websockets.sync.client import connect

from allcomers.connection.tls import Tls
from allcomers.errors import PeerError
from allcomers.server.tls.certificates import server_context
from support.certificates import Certificate
from support.harness import ROOT, Server, serving
from support.http2_client import Http2Client

APP = f"{ROOT}/tests/support/apps/tls_info.py"
TLS_1_2 = ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", 0x0303, 0xC02B)
TLS_1_3 = ("TLSv1.3", "TLS_AES_256_GCM_SHA384", 0x0304, 0x1302)
NAME = r"CN=ada #1,OU=Łódź\, R\+D,O=Example"


class Authority:
    """An authority behind another, and the clients that it knows.

    file  the certificate of the first
    """

    def __init__(self, folder: Path) -> None:
        root = trustme.CA()
        self.authority = root.create_child_ca()
        self.file = folder / "authority.pem"
        root.cert_pem.write_to_path(self.file)
        known = self.authority.issue_cert(
            "ada", common_name="ada #1", organization_name="Example", organization_unit_name="Łódź, R+D"
        )
        sent = [blob.bytes().decode() for blob in known.cert_chain_pems]
        self.chain = [*sent, root.cert_pem.bytes().decode()] if sys.version_info >= (3, 13) else sent[:1]
        self._known = known

    def client(self, *, known: bool, old: bool = False) -> ssl.SSLContext:
        """Return a client's context, with a certificate if `known`, for TLS 1.2 alone if `old`."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if known:
            self._known.configure_cert(context)
        if old:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.contextmanager
def served(app: str, pure: str, certificate: Certificate, authority: Authority) -> Iterator[Server]:
    arguments = ["--certfile", str(certificate.pem), "--ca-certs", str(authority.file), "--client-cert", "optional"]
    with serving("run", f"{APP}:{app}", *arguments, env={"ALLCOMERS_PURE": pure}) as server:
        yield server


def learned(server: Server, client: ssl.SSLContext) -> Any:
    """Return what an app says of TLS: the same twice on a connection of HTTP/1, and on one of HTTP/2."""
    over_http1 = http.client.HTTPSConnection(*server.address, timeout=30, context=client)
    said = []
    for _ in range(2):
        over_http1.request("GET", "/", headers={"SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": "CN=forged"})
        said.append(json.loads(over_http1.getresponse().read()))
    over_http1.close()
    client.set_alpn_protocols(["h2"])
    with Http2Client(server.address, client) as over_http2:
        said.append(json.loads(over_http2.ask().body))
    assert said[1:] == said[:1] * 2
    return said[0]


@pytest.fixture(params=["", "1"], ids=["compiled", "plain"])
def pure(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("known", [True, False])
def test_wsgi(pure: str, known: bool, certificate: Certificate, authority: Authority) -> None:
    with served("wsgi", pure, certificate, authority) as server:
        for old, (version, cipher, *_) in ((False, TLS_1_3), (True, TLS_1_2)):
            said = learned(server, authority.client(known=known, old=old))
            assert said == {
                "SSL_PROTOCOL": version,
                "SSL_CIPHER": cipher,
                "SSL_CLIENT_VERIFY": "SUCCESS" if known else "NONE",
                "SSL_CLIENT_CERT": authority.chain[0] if known else None,
                "SSL_CLIENT_S_DN": NAME.encode().decode("latin-1") if known else None,
                "HTTPS": "on",
            }


@pytest.mark.parametrize("known", [True, False])
def test_asgi(pure: str, known: bool, certificate: Certificate, authority: Authority) -> None:
    own = x509.load_pem_x509_certificate(certificate.pem.read_bytes()).public_bytes(serialization.Encoding.PEM).decode()
    with served("asgi", pure, certificate, authority) as server:
        for old, (_, _, version, suite) in ((False, TLS_1_3), (True, TLS_1_2)):
            expected = {
                "server_cert": own,
                "client_cert_chain": authority.chain if known else [],
                "client_cert_name": NAME if known else None,
                "client_cert_error": None,
                "tls_version": version,
                "cipher_suite": suite,
            }
            client = authority.client(known=known, old=old)
            host, port = server.address
            with connect(f"wss://{host}:{port}/", ssl=client) as websocket:
                assert json.loads(websocket.recv(timeout=30)) == expected
            assert learned(server, client) == expected


@pytest.mark.parametrize("app", ["Web", "AsyncWeb"])
def test_web(app: str, pure: str, certificate: Certificate, authority: Authority) -> None:
    with served(app, pure, certificate, authority) as server:
        for known in (True, False):
            name, chain = (NAME, authority.chain) if known else (None, [])
            said = learned(server, authority.client(known=known))
            assert said == {"tls": [*TLS_1_3[:2], name, chain]}


@pytest.mark.parametrize(
    ("app", "said"), [("wsgi", dict), ("asgi", None), ("Web", {"tls": None}), ("AsyncWeb", {"tls": None})]
)
def test_plain_http_has_none_of_it(app: str, said: Any, pure: str) -> None:
    with serving("run", f"{APP}:{app}", env={"ALLCOMERS_PURE": pure}) as server:
        client = http.client.HTTPConnection(*server.address, timeout=30)
        client.request("GET", "/", headers={"SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": "CN=forged"})
        heard = json.loads(client.getresponse().read())
        client.close()
    assert heard == (dict.fromkeys(heard) if said is dict else said)


# ---------------------------------------------------------------- in memory


def joined(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None, host: str = "localhost"
) -> tuple[Tls, ssl.SSLObject, ssl.MemoryBIO]:
    """Return the codec of a server after a handshake, the client's object, and what that reads."""
    codec, incoming, outgoing = Tls(server), ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = client.wrap_bio(incoming, outgoing, server_hostname=host, session=session)
    while not codec.ready:
        with contextlib.suppress(ssl.SSLWantReadError):
            engine.do_handshake()
        codec.received(outgoing.read())
        while codec.pending:
            data = bytes(codec.output())
            incoming.write(data)
            codec.sent(len(data))
    return codec, engine, incoming


def test_the_servers_certificate_is_the_one_that_the_client_has_chosen(authority: Authority, tmp_path: Path) -> None:
    hosts, files, pems = ("one.example", "two.example"), [], []
    for host in hosts:
        made = authority.authority.issue_cert(host)
        files.append(str(tmp_path / host))
        made.private_key_and_cert_chain_pem.write_to_path(files[-1])
        pems.append(made.cert_chain_pems[0].bytes().decode())
    context, client = server_context(files, [], "", []), authority.client(known=True)
    seen = [joined(context, client, host=host)[0].tls for host in hosts]
    assert [info and info.server_cert for info in seen] == pems
    assert [info and info.client_chain for info in seen] == [(), ()]  # nobody has requested it


def test_a_client_that_breaks_tls_is_known_still(certificate: Certificate, authority: Authority) -> None:
    context = server_context([str(certificate.pem)], [], str(authority.file), [])
    codec, *_ = joined(context, authority.client(known=True))
    with pytest.raises(PeerError):
        codec.received(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert codec.tls is not None
    assert (codec.tls.client_name, list(codec.tls.client_chain)) == (NAME, authority.chain)


def test_a_session_that_is_resumed_has_the_clients_certificate(certificate: Certificate, authority: Authority) -> None:
    context = server_context([str(certificate.pem)], [], str(authority.file), [])
    client = authority.client(known=True)
    before, first, incoming = joined(context, client)
    incoming.write(before.seal(b"hello"))  # with the ticket
    assert first.read() == b"hello"
    codec, second, _ = joined(context, client, first.session)
    assert second.session_reused
    assert codec.tls is not None
    assert (codec.tls.client_chain, codec.tls.client_name) == ((authority.chain[0],), NAME)


def test_a_subject_that_is_no_text_is_no_name(certificate: Certificate, authority: Authority, tmp_path: Path) -> None:
    bits = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\0\xfe", x509.name._ASN1Type.BitString)
    signer = authority.authority
    issuer = x509.load_pem_x509_certificate(signer.cert_pem.bytes())
    key: Any = serialization.load_pem_private_key(signer.private_key_pem.bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(issuer.subject, x509.Name([bits]), key.public_key(), 1, now - day, now + day)
    pems = (builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), signer.cert_pem.bytes())
    (tmp_path / "client").write_bytes(b"".join((*pems, signer.private_key_pem.bytes())))
    client = authority.client(known=False)
    client.load_cert_chain(tmp_path / "client")
    codec, *_ = joined(server_context([str(certificate.pem)], [], str(authority.file), []), client)
    assert codec.tls is not None
    assert codec.tls.client_chain[0] == pems[0].decode()
    assert codec.tls.client_name is None

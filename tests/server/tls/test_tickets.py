"""Session tickets: on its second visit a client has the short handshake (RFC 8446, 2.2), whichever worker it meets."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable
from typing import NamedTuple

import pytest
import trustme

from support.harness import Server, receive_all, serving, wait_for

VISITS = 40

APP = """
import os
from allcomers import Response

def app(request):
    return Response(f"{os.getpid()}".encode())
"""
SAID = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Visit(NamedTuple):
    """The worker that a client met, whether it had met it before, and the session that it may bring the next time."""

    worker: bytes
    reused: bool
    session: ssl.SSLSession | None


def visit(server: Server, client: ssl.SSLContext, session: ssl.SSLSession | None) -> Visit:
    with client.wrap_socket(server.connect(), server_hostname="localhost", session=session) as sock:
        sock.sendall(SAID)
        said = receive_all(sock)
        return Visit(said.rpartition(b"\n")[2], bool(sock.session_reused), sock.session)


def visit_another(server: Server, client: ssl.SSLContext, before: Visit) -> Visit:
    """Return a visit to another worker than that of the visit before, of which the client brings the session."""
    for _ in range(VISITS):
        made = visit(server, client, before.session)
        if made.worker != before.worker:
            return made
    raise AssertionError(f"{VISITS} visits, all to one worker")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("app") / "app.py"
    path.write_text(APP)
    return f"{path}:app"


@pytest.fixture(scope="module")
def chain(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("chains")

    def make(name: str) -> str:
        path = folder / name
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        return str(path)

    return make


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def client(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[request.param]
    return context


@pytest.mark.parametrize("model", ["epoll", "thread", "process"])
def test_another_worker_resumes_a_session(
    app: str, chain: Callable[[str], str], client: ssl.SSLContext, model: str
) -> None:
    # Of two certificates, it is the second that is shown: its tickets are as good.
    command = ("run", app, "-w", "2", "-m", model, "--certfile", chain("other.test"), "--certfile", chain("localhost"))
    with serving(*command) as server:
        first = visit(server, client, None)
        assert not first.reused
        second = visit_another(server, client, first)
        assert second.reused
        assert visit_another(server, client, second).reused


def test_hup_ends_all_sessions(app: str, chain: Callable[[str], str], client: ssl.SSLContext) -> None:
    """A client's certificate may have been given up with the authority that signed it."""
    with serving("run", app, "-w", "2", "-m", "epoll", "--certfile", chain("localhost")) as server:
        before = visit(server, client, None)
        assert visit(server, client, before.session).reused
        old = set(server.workers())
        server.send(signal.SIGHUP)
        wait_for(lambda: "reloaded in" in server.stderr and old.isdisjoint(server.workers()), "the reload")
        after = visit(server, client, before.session)
        assert not after.reused
        assert visit_another(server, client, after).reused

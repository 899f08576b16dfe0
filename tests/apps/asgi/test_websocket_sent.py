"""What an app sends on WebSockets, over real sockets: to many, to one that reads late, sealed, in both builds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import ClientConnection, connect

from support.certificates import Certificate
from support.harness import PATIENCE, Server, serving

APP = "tests/support/apps/websocket_rooms.py:app"
CLIENTS = 20
KINDS = [("asyncio", ""), ("epoll", ""), ("asyncio", "1")]


@pytest.fixture(scope="module", params=KINDS, ids=str)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    model, pure = request.param
    with serving("run", APP, "--model", model, env={"ALLCOMERS_PURE": pure}) as server:
        yield server


def client(server: Server, path: str = "/", **options: object) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.address[1]}{path}", proxy=None, **options)  # type: ignore[arg-type]


def test_a_message_to_all(server: Server) -> None:
    with ExitStack() as stack:
        options = [{"compression": kind} for kind in (None, "deflate")]
        clients = [stack.enter_context(client(server, **options[at % 2])) for at in range(CLIENTS)]
        for each in clients:
            assert each.recv(PATIENCE) == "welcome"
        for message in ("short", "long " * 1000, "€" * 30_000, b"\x00\xff" * 700):
            clients[0].send(message)
            assert [each.recv(PATIENCE) for each in clients] == [message] * CLIENTS


def test_one_that_reads_late_gets_all_in_order(server: Server) -> None:
    count = 4000
    with client(server, "/count", compression=None, max_queue=1) as late:
        late.send(str(count))
        with client(server, "/count") as other:
            other.send("3")
            assert [other.recv(PATIENCE)[:4] for _ in range(3)] == ["0000", "0001", "0002"]
        said = [late.recv(PATIENCE) for _ in range(count)]
    assert [text[:4] for text in said] == [f"{at:04}" for at in range(count)]
    assert {len(text) for text in said} == {4004}


def test_many_messages_in_one_read(server: Server) -> None:
    with client(server, "/echo") as one:
        for at in range(300):
            one.send(str(at))
        assert [one.recv(PATIENCE) for _ in range(300)] == [str(at) for at in range(300)]


@pytest.mark.parametrize(("model", "pure"), KINDS)
def test_sealed(certificate: Certificate, model: str, pure: str) -> None:
    options = ["--model", model, "--certfile", str(certificate.pem)]
    with serving("run", APP, *options, env={"ALLCOMERS_PURE": pure}) as server:
        address = f"wss://localhost:{server.address[1]}/echo"
        with connect(address, ssl=certificate.for_threads, proxy=None, max_size=None) as websocket:
            for message in ("hello", "x" * 70_000, b"y" * 1_000_000, ""):
                websocket.send(message)
                assert websocket.recv(PATIENCE) == message


def test_two_tasks_that_receive(server: Server) -> None:
    """Each message goes to one of them; both learn of the end."""
    with client(server, "/two") as one:
        for at in range(20):
            one.send(str(at))
        said = [str(one.recv(PATIENCE)) for _ in range(20)]
    assert sorted(text.partition(" ")[2] for text in said) == sorted(str(at) for at in range(20))


def test_one_that_answers_with_a_close(server: Server) -> None:
    with client(server, "/close") as one:
        one.send("bye")
        with pytest.raises(ConnectionClosedOK):
            one.recv(PATIENCE)
        assert (one.close_code, one.close_reason) == (1000, "bye")


def test_the_http_connection_is_freed(server: Server) -> None:
    """Nothing of it is kept for as long as the WebSocket is open."""
    with client(server, "/kept") as one:
        one.send("Http1Connection")
        assert one.recv(PATIENCE) == "0"

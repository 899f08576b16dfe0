"""Flask's and Django's streams: resources of a thread are opened, used and closed in the same one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from support.clients import Client, request
from support.harness import ROOT, Server, chosen, serving, wait_for
from support.wires import wire

REAL = ROOT / "tests" / "support" / "real"
WHERE = chosen(
    [("iterative", "pool"), ("process", "inline"), ("thread", "pool"), ("thread-pool", "inline"), ("select", "pool"),
     ("epoll", "auto"), ("epoll", "inline"), ("asyncio", "auto")],
    [(model, calls) for model in ("iterative", "process", "thread", "thread-pool") for calls in ("inline", "pool")]
    + [(model, calls) for model in ("select", "poll", "epoll", "epoll-et", "asyncio")
       for calls in ("inline", "pool", "auto")],
)  # fmt: skip
CLIENTS = 6


def body(server: Server, target: str) -> bytes:
    with wire(server.address, None) as peer:
        answer = Client(peer).ask(request("GET", target, "Connection: close"))
        assert answer.status == 200
        return answer.body


@pytest.mark.parametrize(("model", "calls"), WHERE)
def test_flask(model: str, calls: str, tmp_path: Path) -> None:
    def ask(number: int) -> None:
        for query in ("", "?slow=1"):
            path = f"/rows/{number}"
            expected = "".join(f"{path} {row}\n" for row in range(1, number + 1))
            assert body(server, path + query) == expected.encode()

    database = {"REAL_DATABASE": str(tmp_path / "database")}
    with serving("run", f"{REAL}/flask_streams.py:app", "-m", model, "--calls", calls, env=database) as server:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(ask, range(1, 2 * CLIENTS)))
        with wire(server.address, None, receive_buffer=4096) as peer:  # one that leaves
            peer.send(request("GET", "/rows/1000000"))
            peer.receive(100)
        assert body(server, "/rows/1") == b"/rows/1 1\n"
    assert "Traceback" not in server.stderr


def open_databases(server: Server, path: Path) -> int:
    """Count the descriptors that the workers and their children have of this file."""
    count = 0
    for pid in server.workers():
        with suppress(FileNotFoundError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    count += fd.readlink() == path
    return count


@pytest.mark.parametrize(("model", "calls"), WHERE)
def test_django_closes_its_connections(model: str, calls: str, tmp_path: Path) -> None:
    large = bytes(range(256)) * 20_000
    (tmp_path / "large").write_bytes(large)

    def ask(number: int) -> None:
        assert body(server, "/rows") == b"0\n1\n2\n3\n4\n"
        assert body(server, "/file") == large
        assert body(server, "/rows?slow=1") == b"0\n1\n2\n3\n4\n"

    def noted(word: str) -> list[str]:
        lines = [line.split() for line in (tmp_path / "noted").read_text().splitlines()]
        return sorted(thread for other, thread in lines if other == word)

    env = {"REAL_FOLDER": str(tmp_path)}
    with serving("run", f"{REAL}/django_streams.py:app", "-m", model, "--calls", calls, env=env) as server:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(ask, range(CLIENTS)))
        with wire(server.address, None, receive_buffer=4096) as peer:  # one that leaves
            peer.send(request("GET", "/file"))
            peer.receive(100)
        wait_for(lambda: len(noted("finished")) == 3 * CLIENTS + 1, "each request to be finished")
        assert noted("started") == noted("finished"), "each is finished in the thread that has started it"
        wait_for(lambda: open_databases(server, tmp_path / "database") == 0, "all connections to be closed")

"""The n-th recv, send, accept, sendfile, open, fork or start of a thread fails, for every n of a small scenario.

As SQLite does with its own calls (https://sqlite.org/testing.html#i_o_error_testing). After each: the same worker is
there and serves, at most one peer has suffered, no descriptor is left open; and at the end nothing spins.
tests/support/faults/ makes the calls fail in a real server.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.faults.server import BODY, CLOSE, Faults, Faulty, assert_one_suffers, conversation, faulty, request
from support.harness import PATIENCE, ask, receive_all, serving, wait_for
from support.offline import answers, statuses

LOOPS = ["select", "poll", "epoll", "epoll-et", "asyncio"]
BLOCKING = ["thread", "thread-pool", "process", "iterative"]
MODELS = LOOPS + BLOCKING


# ---------------------------------------------------------------- one call after another


@pytest.mark.parametrize("model", MODELS)
def test_each_recv_and_each_send_may_fail(tmp_path: Path, model: str) -> None:
    with faulty(tmp_path, model) as place:
        count = 0
        for kind, error, most in (
            ("recv", errno.ECONNRESET, 1000),
            ("recv", errno.ETIMEDOUT, 3),
            ("send", errno.EPIPE, 1000),
            ("send", errno.ECONNRESET, 3),
            ("send", errno.ENOBUFS, 3),
            ("sendfile", errno.EIO, 1000),
            ("sendfile", errno.ECONNRESET, 2),
        ):
            for outcomes in place.fail_each(conversation, kind, error, most):
                assert_one_suffers(outcomes, "cut")
                count += 1
        assert count > 20


@pytest.mark.parametrize("model", [model for model in MODELS if model != "epoll-et"])
def test_a_call_that_would_block_after_all_hurts_nobody(tmp_path: Path, model: str) -> None:
    """poll(2), BUGS: readiness may be told where there is none. Edge-triggered epoll tells of changes: not there."""
    with faulty(tmp_path, model) as place:
        for kind in ("recv", "send", "accept"):
            for outcomes in place.fail_each(conversation, kind, errno.EAGAIN, 12):
                assert set(outcomes) == {"good"}


@pytest.mark.parametrize("model", MODELS)
def test_each_accept_may_fail(tmp_path: Path, model: str) -> None:
    """For want of descriptors or memory, or since its peer is gone again: who waits is let in a moment later."""
    with faulty(tmp_path, model) as place:
        for error, most in (
            (errno.ECONNABORTED, 1000),
            (errno.EPROTO, 1),
            (errno.EPERM, 1),
            (errno.EMFILE, 2),
            (errno.ENFILE, 1),
            (errno.ENOBUFS, 1),
            (errno.ENOMEM, 1),
        ):
            for outcomes in place.fail_each(conversation, "accept", error, most):
                assert set(outcomes) == {"good"}


@pytest.mark.parametrize("model", ["epoll", "thread", "process"])
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOSPC])
def test_each_open_may_fail(tmp_path: Path, model: str, error: int) -> None:
    """A site's file, a body's temporary file: 503 or 500, which the operator hears of."""
    with faulty(tmp_path, model, quiet=False) as place:
        count = 0
        for outcomes in place.fail_each(conversation, "open", error, 1000):
            assert_one_suffers(outcomes, "500", "503", "cut")
            count += 1
        assert count >= 3
        for text in place.server.stderr.split("Traceback")[1:]:
            assert f"[Errno {error}]" in text
        assert conversation(place.server) == ["good"] * 7


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOMEM])
def test_each_fork_may_fail(tmp_path: Path, error: int) -> None:
    with faulty(tmp_path, "process") as place:
        count = 0
        for outcomes in place.fail_each(conversation, "fork", error, 1000):
            assert_one_suffers(outcomes, "503", "cut")
            count += 1
        assert count == 7


def test_each_start_of_a_thread_may_fail(tmp_path: Path) -> None:
    with faulty(tmp_path, "thread") as place:
        count = 0
        for outcomes in place.fail_each(conversation, "thread", errno.EAGAIN, 1000):
            assert_one_suffers(outcomes, "503", "cut")
            count += 1
        assert count == 7


@pytest.mark.parametrize("limit", [[], ["--call-timeout", "30"]])
def test_a_call_that_no_thread_can_be_started_for_is_refused(tmp_path: Path, limit: list[str]) -> None:
    faults = Faults(tmp_path / "faults")
    command = ["run", "tests/support/apps/faulty.py:wsgi", "--model", "epoll", "--calls", "pool", *limit]
    with serving(*command, env=faults.environment) as server:
        workers = server.workers()
        assert statuses(ask(server, b"GARBAGE\r\n\r\n")) == [400]  # the worker serves, and has made no call
        faults.arm("thread", 1, errno.EAGAIN, workers[0])
        assert statuses(ask(server, request(b"/", CLOSE))) == [503]
        assert "the system has no thread" in server.stderr
        assert statuses(ask(server, request(b"/", CLOSE))) == [200]
        assert server.workers() == workers


def test_the_supervisor_tries_a_fork_again(tmp_path: Path) -> None:
    with faulty(tmp_path, "epoll") as place:
        place.faults.arm("fork", 1, errno.EAGAIN)
        os.kill(place.worker, signal.SIGKILL)
        wait_for(lambda: place.faults.fired, "the fork to fail")
        (place.worker,) = place.workers = wait_for(place.server.workers, "a new worker")
        assert set(conversation(place.server)) == {"good"}
        assert "no worker can be started" in place.server.stderr


# ---------------------------------------------------------------- no faults but real ones


@pytest.mark.parametrize("model", ["select", "poll", "epoll", "epoll-et", "asyncio", "thread", "iterative"])
def test_no_descriptors_left(tmp_path: Path, model: str) -> None:
    """Who finds none waits outside, without a spin, and is let in when others leave."""
    with faulty(tmp_path, model) as place, ExitStack() as stack:
        spare = 5
        _, hard = resource.prlimit(place.worker, resource.RLIMIT_NOFILE)
        resource.prlimit(place.worker, resource.RLIMIT_NOFILE, (place.descriptors + spare, hard))
        socks = [stack.enter_context(place.server.connect(timeout=PATIENCE)) for _ in range(4 * spare)]
        if model != "iterative":
            wait_for(lambda: place.open_descriptors() >= place.descriptors + spare, "the descriptors to be used up")
            place.assert_at_rest()
        for sock in socks:
            sock.sendall(request(b"/ran", CLOSE))
            assert statuses(receive_all(sock)) == [200]
            sock.close()
        assert place.server.workers() == place.workers
        place.settle()


@pytest.mark.parametrize("model", MODELS)
def test_a_service_greets_who_is_gone_already(tmp_path: Path, model: str) -> None:
    """Its very first send fails, before its socket was ever watched."""
    with faulty(tmp_path, model, target="Greeter") as place:
        os.kill(place.worker, signal.SIGSTOP)
        for _ in range(5):
            sock = place.server.connect()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        os.kill(place.worker, signal.SIGCONT)
        with place.server.connect() as sock:
            assert sock.recv(100).startswith(b"hello")
            sock.shutdown(socket.SHUT_WR)
            receive_all(sock)
        assert place.server.workers() == place.workers
        place.settle()


@pytest.mark.parametrize("model", ["thread", "thread-pool", "process"])
def test_told_to_stop_while_all_places_are_taken(tmp_path: Path, model: str) -> None:
    """Who waits outside is served when those inside have left."""
    with faulty(tmp_path, model, "--max-connections", "2", "--threads", "2") as place:
        files = tmp_path / "files"
        socks = [place.server.connect() for _ in range(4)]
        for number, sock in enumerate(socks):
            sock.sendall(request(b"/wait?%d" % number))
        wait_for(lambda: len(list(files.glob("begun-*"))) == 2, "two calls to begin")
        place.assert_at_rest()
        place.server.send(signal.SIGTERM)
        (files / "gate").touch()
        for sock in socks:
            ((status, _, body),) = answers(receive_all(sock))
            assert (status, body) == (200, b"waited")
            sock.close()
        assert place.server.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_bad_file_slice_is_a_500(tmp_path: Path, model: str) -> None:
    """Or the response is cut, where its head has gone out: it is a fault of an app, whose client alone suffers."""
    with faulty(tmp_path, model, "--threads", "2", quiet=False) as place:
        for count, how in enumerate([b"closed", b"negative", b"before", b"beyond", b"none"], 1):
            assert statuses(ask(place.server, request(b"/slice?" + how, CLOSE))) == [500]
            heard = ask(place.server, request(b"/slice?" + how + b"+later", CLOSE))
            assert not heard.endswith(b"0\r\n\r\n"), "it looks whole"
            assert place.server.stderr.count("errors.AnswerError: ") == 2 * count, "each is reported once"
        assert statuses(ask(place.server, request(b"/ran", CLOSE))) == [200]
        assert place.server.workers() == place.workers
        place.settle()


def _has_full_disk(place: Faulty) -> None:
    """Let the worker write no file beyond 100,000 bytes: EFBIG, as where the disk is full (setrlimit(2))."""
    _, hard = resource.prlimit(place.worker, resource.RLIMIT_FSIZE)
    resource.prlimit(place.worker, resource.RLIMIT_FSIZE, (100_000, hard))


@pytest.mark.parametrize(
    ("model", "target"),
    [
        *((model, "app") for model in MODELS),
        ("epoll", "wsgi"),
        ("thread-pool", "wsgi"),
        ("thread", "asgi"),
        ("iterative", "asgi"),
    ],
)
def test_a_body_that_no_disk_takes_is_a_503(tmp_path: Path, model: str, target: str) -> None:
    with faulty(tmp_path, model, target=target, quiet=False) as place:
        _has_full_disk(place)
        for _ in range(3):
            with place.server.connect() as sock:
                sock.sendall(request(b"/ran", b"Content-Length: 600000", method=b"POST", body=BODY))
                assert statuses(receive_all(sock)) == [503]
        assert place.server.workers() == place.workers
        assert "File too large" in place.server.stderr
        place.settle()


@pytest.mark.parametrize("model", MODELS)
def test_a_client_that_leaves_a_full_disk_costs_nobody(tmp_path: Path, model: str) -> None:
    """What the buffer of its temporary file still holds cannot be written when that is closed: it is dropped."""
    with faulty(tmp_path, model, "--threads", "2", quiet=False) as place:
        sock = place.server.connect()
        sock.sendall(request(b"/ran", b"Content-Length: 900000", method=b"POST", body=BODY))
        wait_for(lambda: place.has_spool(), "its temporary file")
        _has_full_disk(place)
        sock.sendall(b"y" * 3000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        place.settle()
        assert place.server.workers() == place.workers
        assert statuses(ask(place.server, request(b"/ran", CLOSE))) == [200]

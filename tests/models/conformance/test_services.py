"""TCP services: echo, lines, failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.apps.served import pattern
from support.conformance import (
    LARGE,
    Stage,
    crowd,
    dribble,
    lines,
    same,
    sending,
)
from support.harness import wait_for
from support.wires import Cut, Ended, Wire, wire


def receive(wire: Wire, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = wire.receive()
        if not piece:
            raise Ended(f"after {len(data)} of {size} bytes")
        data += piece
    return bytes(data)


def receive_all(wire: Wire) -> bytes:
    data = bytearray()
    while piece := wire.receive():
        data += piece
    return bytes(data)


def say(wire: Wire, word: bytes, answer: bytes) -> None:
    wire.send(word)
    assert receive(wire, len(answer)) == answer


def test_echo(stage: Stage) -> None:
    with stage.wire("EchoService") as wire:
        for size in (1, 10, 1000, 100_000):
            say(wire, pattern(size), pattern(size))


def test_echo_of_much_at_once(stage: Stage) -> None:
    data = pattern(8_000_000)
    with stage.wire("EchoService") as wire, sending(wire, data, half_close=True):
        same(receive_all(wire), data)


def test_echo_to_a_slow_reader(stage: Stage) -> None:
    data = pattern(3 * LARGE)  # more than all the kernel's buffers on the way can hold
    with stage.wire("EchoService", receive_buffer=4096) as wire, sending(wire, data, half_close=True) as sender:
        stage.server("EchoService").idles()
        assert sender.is_alive()  # who does not read is not heard for ever
        wire.widen()
        same(receive_all(wire), data)


def test_echo_to_two_hundred(stage: Stage) -> None:
    server = stage.server("EchoService")

    def visit(meet: Callable[[], object], number: int) -> int:
        with wire(server.address, stage.tls) as peer:
            meet()
            say(peer, pattern(1000, number), pattern(1000, number))
            return 0

    crowd(stage, server, visit)


GREETING = b"hello 127.0.0.1\r\n"


def test_lines(stage: Stage) -> None:
    with stage.wire("LineService") as wire:
        assert receive(wire, len(GREETING)) == GREETING
        say(wire, b"one\r\n", b"eno\r\n")
        numbers = [b"%d" % number for number in range(500)]
        say(wire, b"".join(n + b"\r\n" for n in numbers), b"".join(n[::-1] + b"\r\n" for n in numbers))
        say(wire, b"silence\r\ntwo\r\n", b"owt\r\n")
        wire.send(b"a\r\nquit\r\nb\r\n")
        assert receive_all(wire) == b"a\r\nbye\r\n"


def test_a_greeting_needs_no_request(stage: Stage) -> None:
    with ExitStack() as stack:
        for _ in range(1 if stage.combination.alone else 20):
            assert receive(stack.enter_context(stage.wire("LineService")), len(GREETING)) == GREETING


def test_a_message_split_at_every_byte(stage: Stage) -> None:
    message = pattern(20)
    data = len(message).to_bytes(4, "big") + message
    answer = data[:4] + message[::-1]
    with stage.wire("LengthService") as wire:
        for at in range(1, len(data)):
            wire.send(data[:at])
            time.sleep(0.001)  # so that the two are read apart
            say(wire, data[at:], answer)
        dribble(wire, data * 3, lambda: 1)
        assert receive(wire, 3 * len(data)) == answer * 3
        with sending(wire, b"".join(n.to_bytes(4, "big") + pattern(n) for n in range(1000)), half_close=True):
            assert receive_all(wire) == b"".join(n.to_bytes(4, "big") + pattern(n)[::-1] for n in range(1000))


ENDINGS: dict[str, tuple[bytes, str]] = {
    "close": (b"", "close"),
    "reset": (b"", "reset"),
    "half close": (b"", "half_close"),
    "in the middle of a message": (b"half", "close"),
    "quit": (b"quit\r\n", ""),
    "fail": (b"fail\r\n", ""),
    "too long": (b"x" * 100_000, ""),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_lost_is_called_once(stage: Stage, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "noted"
    with stage.wire("LineService") as wire:
        assert receive(wire, len(GREETING)) == GREETING
        mark = b"mark " + str(path).encode()
        say(wire, mark + b"\r\n", mark[::-1] + b"\r\n")
        assert not path.exists()
        words, verb = ENDINGS[ending]
        if words:
            wire.send(words)
        if verb:
            getattr(wire, verb)()
        if verb not in ("close", "reset"):
            with suppress(Cut):
                receive_all(wire)
    wait_for(path.exists, "lost to be called")
    stage.server("LineService").comes_home()
    assert lines(path) == ["lost"]


def test_half_close_of_a_service(stage: Stage) -> None:
    with stage.wire("LineService") as wire:
        wire.send(b"one\r\ntwo\r\n")
        wire.half_close()
        assert receive_all(wire) == GREETING + b"eno\r\nowt\r\n"


def test_a_service_that_fails(stage: Stage) -> None:
    with stage.wire("LineService") as wire:
        wire.send(b"one\r\nfail\r\n")
        assert receive_all(wire) == GREETING + b"eno\r\n"

"""A load against servers of known behaviour: the times that must result, and every way to be a bad server."""

from __future__ import annotations

import socket
import time

import pytest
from bench.measuring.known import ANSWER, Queue, due_at, waits

from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.result import Result
from support.harness import free_port
from support.known_servers import Talk, adds_up, assert_within, carried_out, heads, load, reset, serving, soon

LAG = 0.03
"""Seconds by which a machine that is busy may be late."""


def milliseconds(found: Result, *percents: float) -> list[float]:
    return [1000 * seconds for seconds in found.response.percentiles(*percents)]


# ---------------------------------------------------------------- times


def test_a_known_response_time_is_measured() -> None:
    def run() -> list[tuple[float, float]]:
        with Queue(0.05).serving() as url:
            found = load(url, clients=5, seconds=1.0)
        assert adds_up(found)
        assert found.failed == 0
        assert found.answered == found.response.count >= 5
        assert found.response.min >= 0.05
        return [(found.response.percentile(50), 0.05 + LAG)]

    assert_within(run)


def test_closed_loop_sends_no_more_than_its_clients_may() -> None:
    """Little's law: what N clients get is N over the time from one request to the next."""
    with Queue(0.02).serving() as url:
        found = load(url, clients=4, think=0.03, seconds=1.0)
    assert found.sent <= 4 * (1.0 / 0.05 + 1)
    assert found.connections_held == found.connections_opened == 4


def test_a_queue_with_one_server_shows_what_the_theory_says() -> None:
    """M/D/1 at 70 % of its capacity, with known arrivals. No response is sooner than in theory, and each is measured to
    have come when the server, on whatever machine, sent it."""

    def run() -> list[tuple[float, float]]:
        queue, start = Queue(0.01, alone=True), soon()
        with queue.serving() as url:
            plan = Plan.make(url=url, clients=64, rate=70.0, arrivals="poisson", seconds=2.0)
            found = carried_out(plan, start)
        arrivals = due_at(plan)
        assert (found.answered, found.failed) == (len(arrivals), 0)
        theory = sorted(waits(arrivals, 0.01))
        given = sorted(at - start / 1e9 - arrival for at, arrival in zip(queue.answered, arrivals, strict=True))
        times = []
        for percent in (50, 90):
            rank = round(percent / 100 * len(arrivals)) - 1
            assert 0.97 * theory[rank] <= found.response.percentile(percent)
            assert given[rank] * 0.999 <= found.response.percentile(percent)
            times.append((found.response.percentile(percent), 1.03 * given[rank] + LAG))
        return times

    assert_within(run)


@pytest.mark.parametrize("clients", [4, 300])
def test_a_frozen_server_shows_in_response_times(clients: int) -> None:
    """Half of the run nothing is answered: of the requests that are due then, the median waits half of that time.

    With few clients most of them cannot even be sent; a closed loop would have left them out ("coordinated omission").
    """

    def run() -> list[tuple[float, float]]:
        queue, start = Queue(0.0, freeze=(0.4, 1.4)), soon()
        with queue.serving() as url:
            plan = Plan.make(url=url, clients=clients, rate=100.0, seconds=2.0)
            found = carried_out(plan, start)
        assert adds_up(found)
        if found.unsent:  # this machine has taken the time in which they were to be sent
            return [(found.unsent, 0)]
        assert (found.sent, found.answered) == (200, 200)
        given = sorted(at - start / 1e9 - arrival for at, arrival in zip(queue.answered, due_at(plan), strict=True))
        assert found.response.percentile(75) >= given[149] * 0.999
        assert found.response.max >= 0.9
        assert found.response.share_above(0.3) >= 0.2
        assert (found.service.percentile(75) < found.response.percentile(75) / 2) is (clients == 4)
        return [(found.response.percentile(75), 1.03 * given[149] + 5 * LAG)]

    assert_within(run)


def test_requests_due_and_never_sent_are_reported() -> None:
    with Queue(10.0).serving() as url:
        found = load(url, clients=2, rate=100.0, seconds=0.3, timeout=0.4)
    assert found.unsent >= 20
    assert any("never sent" in line for line in found.warnings)
    assert adds_up(found)


def test_lateness_is_only_the_generators() -> None:
    """That no client is free is the server's fault, and no lateness."""

    def run() -> list[tuple[float, float]]:
        with Queue(0.05).serving() as url:
            found = load(url, clients=1, rate=100.0, seconds=0.2)
        assert found.response.max > 0.5
        return [(found.lateness.percentile(50), 0.05)]

    assert_within(run)


# ---------------------------------------------------------------- servers that are none

OPTIONS = {"clients": 3, "seconds": 0.25}


def sends(data: bytes) -> Talk:
    """Send this data for each request."""

    def talk(peer: socket.socket) -> None:
        for _ in heads(peer):
            peer.sendall(data)

    return talk


def sends_and_closes(data: bytes) -> Talk:
    def talk(peer: socket.socket) -> None:
        next(heads(peer), None)
        peer.sendall(data)

    return talk


def endless(peer: socket.socket) -> None:
    next(heads(peer), None)
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.sendall(b"X-Endless: yes\r\n" * 1000)


def trickle(peer: socket.socket) -> None:
    next(heads(peer), None)
    for byte in ANSWER * 1000:
        peer.sendall(bytes([byte]))
        time.sleep(0.05)


def resets(peer: socket.socket) -> None:
    next(heads(peer), None)
    reset(peer)


def resets_at_once(peer: socket.socket) -> None:
    reset(peer)


def silent(peer: socket.socket) -> None:
    for _ in heads(peer):
        pass


@pytest.mark.parametrize(
    ("talk", "kinds"),
    [
        (sends(b"\x00\xff garbage\r\n\r\n"), {"malformed: the first byte begins no HTTP message"}),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), {"malformed: Content-Length is not a number"}),
        (sends(ANSWER + ANSWER), {"malformed: a response without a request"}),
        (
            sends(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            {"malformed: the server switches to a protocol that was not requested"},
        ),
        (endless, {"malformed: the head is larger than 32768 bytes"}),
        (sends_and_closes(ANSWER[:-1]), {"closed"}),
        (sends_and_closes(ANSWER[:10]), {"closed"}),
        (sends_and_closes(b""), {"closed"}),
        (resets, {"reset"}),
        (resets_at_once, {"reset", "closed"}),
        (silent, {"time-out"}),
        (sends(ANSWER[:-1]), {"time-out"}),
        (trickle, {"time-out"}),
    ],
    ids=lambda value: "" if callable(value) else "+".join(sorted(value)).replace(" ", "-"),
)
def test_failures_are_counted_by_kind(talk: Talk, kinds: set[str]) -> None:
    # By number, as no end is late enough for a busy machine; but connections that are closed at once may carry none.
    options = OPTIONS if talk is resets_at_once else {"clients": 3, "requests": 6, "seconds": 0.0}
    with serving(talk) as url:
        found = load(url, timeout=0.15 if "time-out" in kinds else 20.0, **options)
    assert adds_up(found)
    assert found.answered == found.response.count == 0
    assert found.failed == 6 or talk is resets_at_once
    assert set(found.errors) <= kinds
    assert sum(found.errors.values()) >= 1
    assert found.error_share == 1.0


def test_refused_connections() -> None:
    found = load(f"http://127.0.0.1:{free_port()}/", **OPTIONS)
    assert (found.sent, found.connections_opened) == (0, 0)
    assert set(found.errors) == {"refused"}
    assert found.errors["refused"] <= 3 * 6  # it does not spin


def test_refused_connections_end_a_counted_load() -> None:
    """It gives up, rather than wait forever."""
    found = load(f"http://127.0.0.1:{free_port()}/", clients=2, seconds=0.0, requests=10, timeout=0.5)
    assert found.answered == 0
    assert found.errors["refused"] > 0


def test_after_a_close_requests_go_to_a_new_connection() -> None:
    def talk(peer: socket.socket) -> None:
        for number, _ in enumerate(heads(peer)):
            if number == 2:
                peer.sendall(ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                return
            peer.sendall(ANSWER)

    with serving(talk) as url:
        found = load(url, clients=2, seconds=0.0, requests=30)
    assert (found.sent, found.answered, found.failed, found.errors) == (30, 30, 0, {})
    assert found.connections_opened in (10, 11)


def test_statuses_are_counted_and_those_of_400_and_above_are_errors() -> None:
    with serving(sends(ANSWER.replace(b"200 OK", b"503 No"))) as url:
        found = load(url, clients=2, seconds=0.0, requests=10)
    assert (found.answered, found.failed) == (10, 0)
    assert (found.statuses, found.errors, found.error_share) == ({503: 10}, {"status": 10}, 1.0)


@pytest.mark.parametrize(
    "values", [{"pipeline": 4}, {"keep_alive": False}, {"rate": 500.0}, {"rate": 300.0, "pipeline": 3}]
)
def test_the_number_of_requests_is_exact(values: dict[str, float]) -> None:
    with serving(sends(ANSWER)) as url:
        found = load(url, clients=3, seconds=0.0, requests=50, **values)
    assert (found.sent, found.answered, found.failed, found.in_flight) == (50, 50, 0, 0)
    assert found.errors == {}
    assert found.connections_opened == (50 if "keep_alive" in values and "rate" not in values else 3)


def test_connections_per_second_are_limited() -> None:
    with serving(silent) as url:
        found = load(url, clients=50, connections_per_second=40.0, seconds=1.0, timeout=0.2)
    assert 1 <= found.connections_opened <= 42


def test_what_is_in_flight_at_the_end_is_waited_for() -> None:
    with Queue(3.0).serving() as url:  # all four have the time to be sent before the end, and none to be answered
        found = load(url, clients=4, seconds=1.0)
    assert (found.sent, found.answered, found.in_flight) == (4, 4, 0)
    assert found.tps == 0.0  # none of them while it was measured
    assert found.seconds < 3.0


def test_a_long_response_is_received_piece_by_piece() -> None:
    body = bytes(3_000_000)
    with serving(sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))) as url:
        found = load(url, clients=2, seconds=0.0, requests=4)
    assert (found.answered, found.failed) == (4, 0)


def test_a_long_request_is_sent_piece_by_piece() -> None:
    size = 3_000_000
    received: list[int] = []

    def talk(peer: socket.socket) -> None:
        count = 0
        while data := peer.recv(65536):
            count += len(data)
            if count >= size:
                received.append(count)
                peer.sendall(ANSWER)
                return

    with serving(talk) as url:
        found = load(url, clients=1, seconds=0.0, requests=1, method="POST", body=bytes(size))
    assert found.answered == 1
    assert received[0] > size


# ---------------------------------------------------------------- a TCP service


def test_a_service_is_sent_its_own_requests() -> None:
    def talk(peer: socket.socket) -> None:
        while data := peer.recv(4):
            peer.sendall(data.upper())

    with serving(talk) as url:
        found = load(url.replace("http", "tcp"), clients=2, seconds=0.0, requests=20, body=b"ping", expect=b"PING")
        wrong = load(url.replace("http", "tcp"), clients=1, seconds=0.1, body=b"ping", expect=b"PONG")
    assert (found.answered, found.statuses, found.errors) == (20, {0: 20}, {})
    assert set(wrong.errors) == {"malformed: the response is not the one expected"}

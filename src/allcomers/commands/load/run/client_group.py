"""One process of the load: all its clients on one epoll.

A turn: wait until a socket is ready or a deadline has passed, notify those clients, send what is due. In an open loop a
request goes to the client that has been free the longest; if none is free the request waits, and its response time
runs.

It decides which client acts when. `request_client` and `hostile_client` decide what is sent; `processes` knows that
there are other processes.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Final

from allcomers.commands.load.data.plan import Destination, Plan
from allcomers.commands.load.data.record import ANSWERED, BYTES_IN, BYTES_OUT, FAILED, OPEN, SENT, Record, Recorder
from allcomers.commands.load.data.schedule import moments
from allcomers.commands.load.run import response_end_compiled
from allcomers.commands.load.run.client import READ, Client
from allcomers.commands.load.run.connect_queue import ConnectQueue
from allcomers.commands.load.run.hostile_client import HostileClient
from allcomers.commands.load.run.http2_client import Http2Client
from allcomers.commands.load.run.precise_wait import PreciseWait
from allcomers.commands.load.run.request_client import RequestClient
from allcomers.commands.load.run.requests import requests
from allcomers.errors import ConfigError
from allcomers.system.deadlines import NEVER, Deadlines

SECOND: Final = 1_000_000_000

TURN: Final = 64
"""Sockets handled in one turn: a request that comes due meanwhile waits no longer than these take."""

INTERVALS: Final = 900
"""Intervals of a run, at most about: each is a second, or several in a longer run."""

now_ns = time.monotonic_ns


class ClientGroup:
    """The clients of one process.

    plan, destination   the load and its server
    process             index of this process's share
    start               when the load starts (ns)
    stop_fd             a descriptor: the load stops once it is readable
    """

    def __init__(self, plan: Plan, destination: Destination, process: int, start: int, stop_fd: int) -> None:
        self.clock = now_ns
        self.plan = plan
        self.destination = destination
        self.start = start
        self.timeout = int(plan.timeout * SECOND)
        self.think = int(plan.think * SECOND)
        self.pipeline = plan.streams if plan.http2 else plan.pipeline
        self.keep_alive = plan.keep_alive
        self.tls = context(plan) if plan.is_tls else None
        self.deadlines = Deadlines()
        recorder = response_end_compiled.Recorder if response_end_compiled.COMPILED else Recorder
        self.record = Record(recorder, plan.status_errors)
        self.recorder = self.record.recorder
        self.schedule: Iterator[int] | None = moments(plan, process) if plan.is_open else None
        self.next_request: Callable[[], bytes] = cycle(requests(plan, destination)).__next__
        self._end = start + int(plan.seconds * SECOND) if plan.seconds else NEVER
        self._requests_left = plan.share(process, plan.requests) if plan.requests else 1 << 62
        self._epoll = select.epoll()
        self._precise_wait = PreciseWait(self._epoll, TURN)
        self._stop_fd = stop_fd
        self._epoll.register(stop_fd, READ)
        self._owners: dict[int, Client] = {}
        self._clients: list[Client] = []
        self._free: deque[RequestClient] = deque()
        self._due = NEVER  # when the next request of the schedule is due
        self._connect_queue: ConnectQueue[Client] = ConnectQueue(plan.connections_per_second / plan.processes, start)
        self._started = self._ending = self._stopped = False
        self._interval = SECOND * max(1, -(-int(plan.seconds) // INTERVALS))
        self._interval_start = start
        self._tick_at: float = start
        self._cpu_before = 0.0
        self._last_open = start  # when a connection was last open
        self._add_clients(process)

    def _add_clients(self, process: int) -> None:
        plan = self.plan
        ramp = 0 if plan.is_open else int(plan.ramp * SECOND)
        for number in range(process, plan.clients, plan.processes):
            client_start = self.start + ramp * number // plan.clients
            key = len(self._clients)
            self._clients.append(self._client(key, client_start))
            self._clients[key].set_deadline(client_start if ramp else 0)

    def _client(self, key: int, start: int) -> Client:
        if self.plan.hostile:
            return HostileClient(self, key)
        return Http2Client(self, key, start) if self.plan.http2 else RequestClient(self, key, start)

    # ------------------------------------------------------------ for clients: client.Group

    def watch(self, client: Client, fd: int, mask: int) -> None:
        self._owners[fd] = client
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        self._epoll.modify(fd, mask)

    def forget(self, sock: socket.socket) -> None:
        self._owners.pop(sock.fileno(), None)  # close() removes it from epoll, too

    def may_connect(self, client: Client) -> bool:
        return self._connect_queue.may_connect(client)

    def connect_ended(self) -> None:
        self._connect_queue.connect_ended()

    def claim_request(self) -> bool:
        if not self.has_more_requests():
            return False
        self._requests_left -= 1
        return True

    def has_more_requests(self) -> bool:
        return self._due < NEVER if self.schedule is not None else self._requests_left > 0 and not self._ending

    def add_free(self, client: RequestClient) -> None:
        if not client.in_free_list:
            client.in_free_list = True
            self._free.append(client)

    def count_in(self, size: int) -> None:
        self.record.counters[BYTES_IN] += size

    def count_out(self, size: int) -> None:
        self.record.counters[BYTES_OUT] += size

    # ------------------------------------------------------------ the run

    def run(self, report: Callable[[Record], None]) -> Record:
        """Run the load; `report` is called from time to time. Return the record at the end."""
        self._advance_schedule()
        while not self._is_over(now_ns()):
            self._turn()
            report(self.record)
        return self._finish(now_ns())

    def _turn(self) -> None:
        owners = self._owners
        events = self._wait()
        # All owners are looked up first: a client that closes its socket now may see its number reused by the next.
        for owner, mask in [(owners.get(fd), mask) for fd, mask in events]:
            if owner is None:
                self._stopped = True  # stop_fd
            else:
                owner.ready(mask, now_ns())
        now = now_ns()
        for key in self.deadlines.due(now):
            self._clients[key].expired(now)
        if self.has_more_requests():
            for client in self._connect_queue.due(now):
                client.connect_now(now)
        if self._due <= now:
            self._send_due(now)
        if self._tick_at <= now < self._end:
            self._tick(now)

    def _wait(self) -> list[tuple[int, int]]:
        until = min(self.deadlines.next(), self._tick_at)
        if self._free:
            until = min(until, self._due)
        if self.has_more_requests():
            until = min(until, self._connect_queue.next_turn())
        if self.schedule is None:
            return self._epoll.poll(max(0.0, (until - now_ns()) / SECOND), TURN)
        return self._precise_wait.poll_until(until, self._awaits_responses())

    def _awaits_responses(self) -> bool:
        counters = self.record.counters
        return counters[SENT] > counters[ANSWERED] + counters[FAILED]

    # ------------------------------------------------------------ an open loop

    def _advance_schedule(self) -> None:
        """Move on to the next moment of the schedule."""
        if self.schedule is not None:
            moment = self.start + next(self.schedule)
            self._due = moment if moment < self._end and self._requests_left else NEVER
            self._requests_left -= 1

    def _send_due(self, now: int) -> None:
        while self._due <= now and self._free:
            client = self._free.popleft()
            client.in_free_list = False
            if client.has_room:
                due = int(self._due)
                self._advance_schedule()
                self.recorder.late(now - max(due, client.free_since))
                client.send_request(due, now)
                if client.has_room:
                    self.add_free(client)
                now = now_ns()

    # ------------------------------------------------------------ intervals, and the end

    def _tick(self, now: int) -> None:
        """End an interval, or start the first."""
        if not self._started:
            self._started = True
            self._cpu_before = self._cpu_seconds()
            now = self.start
        else:
            self.record.end_interval((now - self._interval_start) / SECOND)
            if self.record.counters[OPEN]:
                self._last_open = now
            elif not self.plan.seconds and now - self._last_open > self.timeout:
                self._stopped = True  # no server is there for the requests that are left
        self._interval_start = now
        self._tick_at = min(now + self._interval, self._end)

    def _is_over(self, now: int) -> bool:
        if now >= self._end and not self._ending:
            self._end_measuring(now)
        if self._stopped or now >= self._end + (0 if self.plan.hostile else self.timeout):
            return True
        if self.plan.hostile:
            return False
        if self._awaits_responses() or self._due < NEVER:
            return False
        return self._ending or self._requests_left <= 0

    def _end_measuring(self, now: int) -> None:
        """Stop measuring: what follows is no part of any rate, it is only waited for."""
        self._ending = True
        if self._started:
            self._tick(now)
            self._tick_at = self._end + self.timeout
            self.record.cpu = (self._cpu_seconds() - self._cpu_before) * SECOND / max(now - self.start, 1)

    def _cpu_seconds(self) -> float:
        """Return the seconds of CPU spent on work, not on spinning."""
        return time.process_time() - self._precise_wait.spun / SECOND

    def _finish(self, now: int) -> Record:
        if not self._ending:
            self._end_measuring(now)
        record = self.record
        if self._started:
            record.end_late((now - self._interval_start) / SECOND)
        record.in_flight = sum(client.in_flight() for client in self._clients)
        until = min(now, self._end)
        while self._due <= until:
            record.unsent += 1
            self._advance_schedule()
        for client in self._clients:
            if client.sock is not None:
                client.sock.close()
        self._epoll.close()
        return record


def context(plan: Plan) -> ssl.SSLContext:
    """Return a TLS context for clients. Raises ConfigError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if plan.http2:
        made.set_alpn_protocols(["h2"])
    if not plan.ca_certs:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made
    try:
        made.load_verify_locations(plan.ca_certs)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--ca-certs {plan.ca_certs!r}: {error.strerror or error}") from None
    return made

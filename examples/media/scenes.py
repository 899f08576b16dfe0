"""A drawing of time: the same few clients, served by each model on one imaginary core.

This file has each wait, its reason and its time; it knows nothing of pixels. Its clock has no unit and its costs are
chosen to be seen, so the result is a diagram, never a measurement.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import groupby

TICK = 0.05


@dataclass(frozen=True)
class Client:
    """`steps` are pairs of a kind and a length: send and think are the client's own time, the others the server's."""

    name: str
    arrives: float
    steps: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Model:
    """`slots`: how many connections have a host of their own at once; 0 means that one loop watches them all.

    `birth` is the cost of a new host; `look` that of finding who is next: a change of threads or a call of the poller,
    plus `look_each` for every socket watched; `drain` that of reading on until nothing is left.
    """

    name: str
    slots: int = 0
    host: str = "thread"
    birth: float = 0.0
    look: float = 0.0
    look_each: float = 0.0
    drain: float = 0.0
    frees_awaits: bool = False


@dataclass(frozen=True)
class Span:
    start: float
    end: float
    state: str
    whom: str = ""


ALL = 99

MODELS = {
    "iterative": Model("iterative", slots=1, host="process"),
    "process": Model("process", slots=ALL, host="child", birth=0.7, look=0.2),
    "thread": Model("thread", slots=ALL, birth=0.25, look=0.15),
    "thread-pool": Model("thread-pool", slots=2, look=0.15),
    "select": Model("select", look=0.1, look_each=0.15),
    "poll": Model("poll", look=0.1, look_each=0.12),
    "epoll": Model("epoll", look=0.15),
    "epoll-et": Model("epoll-et", look=0.15, drain=0.2),
    "kqueue": Model("kqueue", look=0.15),
    "asyncio": Model("asyncio", look=0.2, frees_awaits=True),
}

THREE = (
    Client("A", 0.3, (("send", 1), ("work", 1.6), ("think", 4.4), ("send", 1), ("work", 1.6))),
    Client("B", 0.8, (("send", 0.8), ("think", 4.2), ("send", 0.8), ("work", 1.6))),
    Client("C", 1.4, (("send", 1), ("work", 1.6))),
)
"""A comes back with a second request, B's request arrives in two pieces, C is in a hurry."""

THREE_AWAIT = (
    Client("A", 0.3, (("send", 1), ("work", 0.7), ("await", 2.4), ("work", 0.7))),
    Client("B", 0.8, (("send", 0.8), ("think", 2.2), ("send", 0.8), ("work", 0.7), ("await", 2.4), ("work", 0.7))),
    Client("C", 1.4, (("send", 1), ("work", 0.7), ("await", 2.4), ("work", 0.7))),
)
"""The same three, each with a request for which the app itself must wait: for a database, say."""

SIX = (
    Client("A", 0.4, (("send", 1), ("work", 1.2), ("think", 3.2), ("send", 1), ("work", 1.2))),
    Client("B", 0.9, (("send", 0.8), ("think", 3.6), ("send", 0.8), ("work", 1.2))),
    Client("C", 1.5, (("send", 1), ("work", 1.2))),
    Client("D", 2.3, (("send", 1.2), ("work", 1.2))),
    Client("E", 3.4, (("send", 1), ("work", 1.2), ("think", 2.2), ("send", 1), ("work", 1.2))),
    Client("F", 4.6, (("send", 1), ("work", 1.2))),
)


@dataclass
class Seat:
    """One client's connection while it lasts."""

    client: Client
    step: int = -1
    left: float = 0.0
    ready: float = 0.0
    accepted: bool = False
    birth: float = 0.0
    host: int = -1
    done: bool = False
    log: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return "" if self.done or self.step < 0 else self.client.steps[self.step][0]

    def advance(self, now: float) -> None:
        self.step += 1
        if self.step == len(self.client.steps):
            self.done = True
            return
        self.left = self.client.steps[self.step][1]
        self.ready = now


class Scene:
    """Runs one model over the clients, tick by tick, and keeps what each lane looked like."""

    def __init__(self, model: Model, clients: tuple[Client, ...]) -> None:
        self.model = model
        self.seats = [Seat(client) for client in clients]
        self.hosts: list[Seat | None] = [None] * (model.slots if model.slots < ALL else len(clients))
        self.host_logs: list[list[str]] = [[] for _ in self.hosts]
        self.main_log: list[str] = []
        self.running: Seat | None = None
        self.overhead = 0.0
        self.errand = ""
        self.pieces: list[Seat] = []
        self.now = 0.0

    def run(self) -> Scene:
        while not all(seat.done for seat in self.seats):
            self.tick()
        for _ in range(round(0.6 / TICK)):
            self.tick()
        return self

    def tick(self) -> None:
        for seat in self.seats:
            self.let_client(seat)
        self.accept()
        self.choose()
        self.record()
        self.work()
        self.now += TICK

    def let_client(self, seat: Seat) -> None:
        """A client's own time passes whether or not anybody listens: the kernel keeps what it sends."""
        if seat.step < 0 and self.now >= seat.client.arrives:
            seat.advance(self.now)
        if seat.kind in ("send", "think"):
            sending = seat.kind == "send"
            seat.left -= TICK
            if seat.left < TICK / 2:
                seat.advance(self.now)
                if sending and seat.kind == "think" and not self.model.slots:
                    self.pieces.append(seat)  # half a request wakes the loop too
        if seat.kind == "await" and seat is not self.running and seat.ready <= self.now:
            seat.left -= TICK
            if seat.left < TICK / 2:
                seat.advance(self.now)

    def accept(self) -> None:
        waiting = [seat for seat in self.seats if seat.step >= 0 and not seat.accepted and not seat.done]
        for seat in waiting:
            if not self.model.slots:
                seat.accepted = True
                continue
            if any(other.birth > 0 for other in self.seats) or None not in self.hosts:
                return
            seat.host = self.seats.index(seat) if self.model.slots == ALL else self.hosts.index(None)
            self.hosts[seat.host] = seat
            seat.accepted = True
            seat.birth = self.model.birth

    def choose(self) -> None:
        """Give the one core to whoever has been ready for longest."""
        if self.running is not None or self.overhead > 0:
            return
        watched = sum(1 for seat in self.seats if seat.accepted and not seat.done)
        if self.pieces:
            self.overhead = self.model.look + self.model.look_each * watched
            self.errand = "read " + self.pieces.pop(0).client.name
            return
        ready = [seat for seat in self.seats if seat.accepted and seat.birth <= 0 and seat.kind == "work"]
        if ready:
            self.running = min(ready, key=lambda seat: seat.ready)
            self.overhead = self.model.look + self.model.look_each * watched
            self.errand = "look"

    def work(self) -> None:
        for seat in self.seats:
            seat.birth = max(0.0, seat.birth - TICK)
        if self.overhead > TICK / 2:
            self.overhead -= TICK
            if self.overhead <= TICK / 2:
                self.overhead = 0.0
            return
        seat = self.running
        if seat is None:
            return
        seat.left -= TICK
        if seat.left < TICK / 2:
            seat.advance(self.now)
            if seat.kind == "await" and not self.model.frees_awaits and not self.model.slots:
                return  # an inline call that waits keeps the loop
            self.running = None
            if self.model.drain:
                self.errand, self.overhead = "drain " + seat.client.name, self.model.drain
            if seat.done and seat.host >= 0:
                self.hosts[seat.host] = None

    def record(self) -> None:
        for seat in self.seats:
            seat.log.append(self.client_state(seat))
        for index, seat in enumerate(self.hosts):
            self.host_logs[index].append(self.host_state(seat))
        self.main_log.append(self.main_state())

    def client_state(self, seat: Seat) -> str:
        if seat.step < 0 or seat.done:
            return ""
        if seat.kind in ("send", "think"):
            return seat.kind
        if seat.kind == "await":
            return "away"
        serving = seat is self.running and not self.overhead
        return "serve" if serving else "wait"

    def host_state(self, seat: Seat | None) -> str:
        if seat is None:
            return "" if self.model.slots == ALL else "sleep"
        if seat.birth > 0:
            return "birth " + seat.client.name
        if seat is self.running and not self.overhead:
            return "serve " + seat.client.name
        if seat.kind == "await":
            return "away " + seat.client.name
        return ("ready " if seat.kind == "work" else "blocked ") + seat.client.name

    def main_state(self) -> str:
        if self.model.slots:
            return next(("birth " + seat.client.name for seat in self.seats if seat.birth > 0), "sleep")
        if self.overhead > 0:
            return self.errand
        return "serve " + self.running.client.name if self.running else "sleep"

    def lanes(self) -> tuple[dict[str, list[Span]], dict[str, list[Span]]]:
        """What to draw: the clients' lanes and the server's, each by its name."""
        clients = {seat.client.name: spans(seat.log) for seat in self.seats}
        model = self.model
        server: dict[str, list[Span]] = {}
        if not model.slots:
            server["loop"] = spans(self.main_log)
        elif model.slots == 1:
            server[model.host] = spans(self.host_logs[0])
        else:
            if model.slots == ALL:
                server["accept"] = spans(self.main_log)
            for number, log in enumerate(self.host_logs, 1):
                server[f"{model.host} {number}"] = spans(log)
        return clients, server

    @property
    def lasted(self) -> float:
        return len(self.main_log) * TICK


def spans(log: list[str]) -> list[Span]:
    """Equal ticks in a row, as one span; ticks in which there is nothing are left out."""
    found: deque[Span] = deque()
    start = 0
    for text, run in groupby(log):
        count = len(list(run))
        if text:
            state, _, whom = text.partition(" ")
            found.append(Span(start * TICK, (start + count) * TICK, state, whom))
        start += count
    return list(found)


def play(name: str, clients: tuple[Client, ...] | None = None) -> Scene:
    """The whole scene of one model."""
    if clients is None:
        clients = THREE_AWAIT if name == "asyncio" else THREE
    return Scene(MODELS[name], clients).run()

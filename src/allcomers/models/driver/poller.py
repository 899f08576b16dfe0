"""What a loop is to its parts: its way to wait for many sockets, and what its peers share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from allcomers.connection.base import FAREWELL, PATIENCE

if TYPE_CHECKING:
    from allcomers.calls.overload.admission import Admission
    from allcomers.calls.protocols import Calls
    from allcomers.connection.base import Connection
    from allcomers.connection.call import Address
    from allcomers.system.deadlines import Deadlines

PROMPT: Final = 0.005
"""Seconds for which a response whose pieces go out at once may go on before others have their turn, or it gets a thread
of its own: that would gain nothing sooner, for the interpreter runs one for so long (sys.getswitchinterval())."""


class Poller(Protocol):
    """What a model brings: three verbs, and a page of code in a file of its own, one for each way to ask the kernel.

    most       int: descriptors must be below this
    errs_once  bool: a peer's reset is reported once, perhaps while something is still to be read
    """

    most: int
    errs_once: bool

    def watch(self, fd: int, wants: int) -> None:
        """Report READ and WRITE, as far as `wants` has them; 0 for neither."""
        ...

    def watch_listener(self, fd: int) -> None:
        """Report READ, as for a listener that other processes watch, too."""
        ...

    def forget(self, fd: int) -> None:
        """Report no more; `fd` is about to be closed. Raise nothing, whether or not it was ever watched."""
        ...

    def close(self) -> None:
        """Watch nothing any more."""
        ...

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return (fd, events) of each that is ready, events as poll(2) numbers them; None waits for ever."""
        ...


Peer: TypeAlias = Any
"""A channel.Channel, whose module imports this one."""


class Home(Protocol):
    """The peers of a loop, and what they share (peers.Peers).

    at        the peer whose turn it is
    again     peers that had their turn and could go on
    evicting  bool: each peer is to leave with its next response
    draining  bool: the server leaves
    detached  peers that are gone, and whose calls run on
    connect   makes the connection of a peer, of its address and the time
    makes_late  bool: only where it is needed
    look_after  seconds after which the deadline of a newcomer without one is looked at
    arrive    serves a newcomer by the fast path; None where there is none
    answer    sends the result of a call that was handed off there, at that time
    """

    channels: dict[int, Peer]
    calls: Calls
    admission: Admission
    here: Any  # calls.here
    poller: Poller
    deadlines: Deadlines
    at: Peer
    again: deque[Peer]
    evicting: bool
    draining: bool
    detached: set[Peer]
    connect: Callable[[Address, float], Connection]
    makes_late: bool
    look_after: float
    arrive: Callable[[Peer], None] | None
    answer: Callable[[Peer, Any, float], None]
    turned: Callable[[float], object]

    def post(self, channel: Peer, call: Any, reply: Any) -> None:
        """Bring the result of `call` to the loop's own thread. Called in any thread."""
        ...

    def close(self, channel: Peer) -> None: ...

    def run_close_call(self, channel: Peer) -> None: ...

    def fail(self, channel: Peer, error: BaseException, reply: object = None) -> None: ...


def evict(home: Home, conn: Connection, now: float) -> None:
    """Ask a peer to leave: soon if it is idle, else with its next response."""
    conn.drain(now, FAREWELL if home.draining else PATIENCE)

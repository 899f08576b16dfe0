"""A peer of a plain TCP service: its messages in order, one call each, as the service's framing cuts them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from allcomers.config.options import Limits
from allcomers.connection.base import CALLED, DUE, HEAD, IDLE, READ, Address, Connection, Work
from allcomers.connection.call import TIMED_OUT, CallStatus
from allcomers.errors import PeerError
from allcomers.protocol.framing import Framing
from allcomers.system.counters import CounterRow

if TYPE_CHECKING:
    import ssl


_NONE: Final[list[bytes]] = []  # shared by all that have no message waiting


class Talker(Protocol):
    """What a connection needs of a Service: an instance for each peer."""

    framing: Framing
    idle_timeout: float | None
    peer: str
    closing: bool

    def connected(self) -> bytes | None: ...
    def request(self, data: bytes) -> bytes | None: ...
    def lost(self) -> None: ...


class ServiceEndpoint(NamedTuple):
    """What all connections of a service share.

    service  makes the Talker of a new peer
    report   called with an app's exception and the peer that met it
    counters     where what is done is counted
    """

    service: Callable[[], Talker]
    limits: Limits
    report: Callable[[BaseException, str], object]
    counters: CounterRow
    tls: ssl.SSLContext | None = None


class ServiceConnection(Connection):
    """One client of a ServiceEndpoint."""

    __slots__ = ("_asked", "_buffer", "_endpoint", "_messages", "_next", "_waiting", "talker")

    def __init__(self, endpoint: ServiceEndpoint, address: Address, now: float) -> None:
        super().__init__(endpoint.limits, address, endpoint.tls, now, endpoint.counters)
        self._endpoint = endpoint
        self.talker: Talker | None = None  # made by the first call, where calls run
        self._buffer = b""  # the beginning of a message
        self._messages = _NONE  # whole ones
        self._next = 0  # the one of them that is to be taken next
        self._asked = now  # when the message came that was taken last, or others with it
        self._waiting = 0  # bytes of those not taken, and one more for each
        if self.codec.ready:
            self.phase = DUE  # the first call greets the peer
        self._settle(now)

    def _shaken(self, now: float) -> None:
        if self.talker is None and self.phase is IDLE:
            self.phase = DUE  # as above; who never shakes hands costs no call

    def _heard(self, data: bytes, now: float) -> None:
        talker = self.talker
        if talker is None:  # before the first call there is no framing
            self._buffer += data
            self._shaken(now)
            return
        if self._buffer:
            data = self._buffer + data
        messages, self._buffer = self._split(talker, data)
        if messages:
            self._asked = now
            self._messages = self._messages[self._next :] + messages if self._messages else messages
            self._next = 0
            self._waiting += len(data) + len(messages)  # an empty one takes room too
        if self.phase is IDLE or self.phase is HEAD:
            self._rest(now)

    def _split(self, talker: Talker, data: bytes) -> tuple[list[bytes], bytes]:
        try:
            return talker.framing.split(data)
        except PeerError:
            raise
        except Exception as error:  # a framing of the app's own
            self._endpoint.report(error, self.peer)
            raise PeerError("the framing failed") from None

    def _rest(self, now: float) -> None:
        """No call runs: what is next?"""
        if self._messages:
            self.phase = DUE
        elif self._ended:
            self.close(now)
        elif self._buffer:
            if self.phase is not HEAD:
                self.enter(HEAD, now)
        else:
            self.enter(IDLE, now)

    @property
    def rests(self) -> bool:
        return self.wants == READ and self.phase is IDLE and not self._leaving and self.codec.is_clear

    def began(self, unsent: bytes, request: object, live: object, heard: bytes, asked: float, now: float) -> None:
        self.codec.push(unsent)
        if request is not None:
            self._called = True
            self._asked = asked
            self._owes = True
            self.phase = CALLED
        self._settle(now)

    def _keeps(self) -> float:
        own = self.talker.idle_timeout if self.talker is not None else None
        return self._limits.keep_alive if own is None else own

    def _heard_end(self, now: float) -> None:
        if self.phase is HEAD:
            raise PeerError("the connection ended in the middle of a message")

    def _ahead(self) -> int:
        return self._waiting + len(self._buffer)

    def _take_work(self) -> Work:
        self._called = True
        self.phase = CALLED
        talker = self.talker
        if talker is None:
            return Call(_greet, self._endpoint, self.peer)
        self._owe()
        message = self._messages[self._next]
        self._next += 1
        if self._next == len(self._messages):
            self._messages = _NONE
            self._next = self._waiting = 0
        else:
            self._waiting -= len(message) + 1
        return Call(_request, self._endpoint, talker, message)

    def _answered(self, reply: bytes | Greeting | End | Literal[CallStatus.TIMED_OUT], now: float) -> None:
        """What _greet or _request returned."""
        self._called = False
        if reply is TIMED_OUT:  # the call runs on, and will tell the talker that its peer is lost
            self.talker = None
            reply = _FAILED
        greets = isinstance(reply, Greeting)
        if isinstance(reply, Greeting):
            reply = self._greeted(reply, now)
        if self.phase is not CALLED:  # the peer has gone, or broken the protocol: nothing is said any more
            self._forsake()
            return
        if reply is _FAILED:
            self._forsake()
        data = reply.data if isinstance(reply, End) else reply
        if data:
            self.codec.push(data)
        if self._owes:
            self._pay(0, self._asked, now)
        if isinstance(reply, End):
            self.close(now, linger=True)
            return
        if self._leaving and not greets and not self._ahead():
            self.close(now, linger=True)
        else:
            self._rest(now)

    def _greeted(self, greeting: Greeting, now: float) -> bytes | End:
        """The first call is back: now there is a framing for what came meanwhile."""
        self.talker = greeting.talker
        self._patience = self._keeps()
        if self._buffer:
            early, self._buffer = self._buffer, b""
            try:
                self._heard(early, now)
            except PeerError:
                return End(greeting.data if isinstance(greeting.data, bytes) else greeting.data.data)
        return greeting.data

    def _expire(self, now: float) -> None:
        if self._writing:
            self.lost(now)
        elif self.phase is HEAD and self._moved >= self._limits.min_rate * (now - self._looked) > 0:
            self._since = self._looked = now  # a long message that comes fast enough
            self._moved = 0
        else:
            self.close(now)

    def farewell(self) -> Work | None:
        if self._called or self.talker is None:
            return None
        talker, self.talker = self.talker, None
        return Call(_lose, self._endpoint, talker)


class End:
    """The last that a peer hears: `data`, framed already."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


_FAILED: Final = End(b"")


class Greeting:
    """What the first call returns: who will answer, and the first words."""

    __slots__ = ("data", "talker")

    def __init__(self, talker: Talker, data: bytes | End) -> None:
        self.talker = talker
        self.data = data


class Call(partial[Any]):
    """One of the functions below with its arguments. See http_calls.Call."""

    __slots__ = ()

    @property
    def name(self) -> str:
        endpoint, who, *_ = self.args
        peer = who if isinstance(who, str) else who.peer
        return f"a call of {endpoint.service.__name__} for {peer or 'a local peer'}"

    def forget(self, reply: bytes | Greeting | End | CallStatus | None) -> None:
        """It has returned `reply` too late, or is OVERDUE before it began: tell the talker that its peer is lost."""
        endpoint, who, *_ = self.args
        if self.func is _request:
            _lose(endpoint, who)
        elif isinstance(reply, Greeting):
            _lose(endpoint, reply.talker)
        elif self.func is _lose and reply is TIMED_OUT:
            self()


def _greet(endpoint: ServiceEndpoint, peer: str) -> Greeting | End:
    try:
        talker = endpoint.service()
        talker.peer = peer
        words = talker.connected()
        data = b"" if words is None else talker.framing.wrap(words)
        return Greeting(talker, End(data) if talker.closing else data)
    except BaseException as error:
        endpoint.report(error, peer)
        return _FAILED


def _request(endpoint: ServiceEndpoint, talker: Talker, message: bytes) -> bytes | End:
    try:
        answer = talker.request(message)
        data = b"" if answer is None else talker.framing.wrap(answer)
    except BaseException as error:
        return failed(endpoint, talker, error)
    return End(data) if talker.closing else data


def failed(endpoint: ServiceEndpoint, talker: Talker, error: BaseException) -> End:
    """What a call gives that raised `error`."""
    endpoint.report(error, talker.peer)
    return _FAILED


def _lose(endpoint: ServiceEndpoint, talker: Talker) -> None:
    try:
        talker.lost()
    except BaseException as error:
        endpoint.report(error, talker.peer)

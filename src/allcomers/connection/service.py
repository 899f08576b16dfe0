"""A peer of a plain TCP service: its messages in order, one call each, as the service's framing cuts them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from allcomers.config.limits import Limits
from allcomers.connection.base import CALLED, DUE, HEAD, HIGH_WATER, IDLE, READ, Connection
from allcomers.connection.call import FAILED, PENDING, TIMED_OUT, Address, Call, CallStatus
from allcomers.connection.progress import Progress
from allcomers.errors import PeerError
from allcomers.protocol.framing import Framing
from allcomers.system.counters import ABORTED, REQUESTS, CounterRow
from allcomers.system.memory.ledger import Ledger

if TYPE_CHECKING:
    import ssl


_NONE: Final[list[bytes]] = []  # shared by all that have no message waiting


class ServiceProtocol(Protocol):
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

    service   makes the ServiceProtocol of a new peer
    report    called with an app's exception and the peer that met it
    counters  counts what is done
    ledger    counts what is held
    """

    service: Callable[[], ServiceProtocol]
    limits: Limits
    report: Callable[[BaseException, str], object]
    counters: CounterRow
    ledger: Ledger
    tls: ssl.SSLContext | None = None


class ServiceConnection(Connection):
    """One client of a ServiceEndpoint."""

    __slots__ = (
        "_buffer",
        "_called",
        "_endpoint",
        "_messages",
        "_next",
        "_request_pending",
        "_requested_at",
        "_waiting",
        "protocol",
    )  # fmt: skip

    def __init__(self, endpoint: ServiceEndpoint, address: Address, now: float) -> None:
        super().__init__(endpoint.limits, address, endpoint.tls, now, endpoint.counters, endpoint.ledger)
        self._endpoint = endpoint
        self.protocol: ServiceProtocol | None = None  # made by the first call, where calls run
        self._called = False  # a call runs; also when the phase has changed meanwhile, for the peer may be gone
        self._request_pending = False  # that call is one of request()
        self._buffer: bytes | bytearray = b""  # the beginning of a message: a bytearray, but where there is none
        self._messages = _NONE  # whole ones
        self._next = 0  # the index of the next of them
        self._requested_at = now  # when the last message consumed came, or others with it
        self._waiting = 0  # bytes of those not consumed, and one more for each
        if self.codec.ready:
            self.phase = DUE  # the first call greets the peer
        self._settle(now)

    def _handshake_done(self, now: float) -> None:
        if self.protocol is None and self.phase is IDLE:
            self.phase = DUE  # as above; a peer that ends no handshake costs no call

    def _receive_plain(self, data: bytes, now: float) -> None:
        protocol = self.protocol
        if protocol is None:  # before the first call there is no framing
            self._buffer = bytearray(self._buffer + data)
            self._handshake_done(now)
            return
        if self._buffer:
            whole = self._extend(protocol.framing, data)
            if whole is None:
                return
            data = whole
        messages, rest = self._split(protocol, data)
        self._buffer = bytearray(rest) if rest else b""
        if messages:
            self._requested_at = now
            if self._messages:  # in its place: a peer may send many while a call runs
                del self._messages[: self._next]
                self._messages += messages
            else:
                self._messages = messages
            self._next = 0
            self._waiting += len(data) + len(messages)  # an empty one takes room too
        if self.phase is IDLE or self.phase is HEAD:
            self._next_message(now)

    def _extend(self, framing: Framing, data: bytes) -> bytes | None:
        """Put `data` behind the beginning of a message. Return all of it; None where it cannot be whole yet.

        So the work is linear in the bytes, however they come.
        """
        assert isinstance(self._buffer, bytearray)
        checked = len(self._buffer)
        self._buffer += data
        waits = getattr(framing, "waits", None)
        return None if waits is not None and waits(self._buffer, checked) else bytes(self._buffer)

    def _split(self, protocol: ServiceProtocol, data: bytes) -> tuple[list[bytes], bytes]:
        try:
            return protocol.framing.split(data)
        except PeerError:
            raise
        except Exception as error:  # a framing of the app's own
            self._endpoint.report(error, self.peer)
            raise PeerError("the framing failed") from None

    def _next_message(self, now: float) -> None:
        """Enter the phase of what is next, now that no call runs."""
        if self._messages:
            self.phase = DUE
        elif self._ended:
            self.close(now)
        elif self._buffer:
            if self.phase is not HEAD:
                self.enter(HEAD, now)
                self._progress = self._progress or Progress(now, False)
        else:
            self.enter(IDLE, now)

    @property
    def is_idle(self) -> bool:
        return self.wants == READ and self.phase is IDLE and not self.leaving and self.codec.is_clear

    def adopt(
        self,
        unsent: bytes,
        records: object,
        request: object,
        begun: object,
        received: bytes,
        requested_at: float,
        now: float,
    ) -> None:
        self.codec.push(unsent)
        if request is not None:
            self._called = self._request_pending = True
            self._requested_at = requested_at
            self.phase = CALLED
        self._settle(now)

    @property
    def _has_request(self) -> bool:
        return self._request_pending

    def _may_call(self) -> bool:
        return self.codec.unsent < HIGH_WATER

    def _idle_timeout(self) -> float:
        own = self.protocol.idle_timeout if self.protocol is not None else None
        return self._limits.keep_alive if own is None else own

    def _receive_end(self, now: float) -> None:
        if self.phase is HEAD:
            raise PeerError("the connection ended in the middle of a message")

    def _buffered(self) -> int:
        return self._waiting + len(self._buffer)

    def _take_call(self) -> Call:
        self._called = True
        self.phase = CALLED
        protocol = self.protocol
        if protocol is None:
            return ServiceCall(_greet, self._endpoint, self.peer)
        self._request_pending = True
        self.counters.add(REQUESTS)
        message = self._messages[self._next]
        self._next += 1
        if self._next == len(self._messages):
            self._messages = _NONE
            self._next = self._waiting = 0
        else:
            self._waiting -= len(message) + 1
        return ServiceCall(_request, self._endpoint, protocol, message)

    def _answered(
        self,
        call: Call | None,
        reply: bytes | Connected | CloseAfter | Literal[CallStatus.TIMED_OUT, CallStatus.FAILED],
        now: float,
    ) -> None:
        """Send what _greet or _request returned."""
        self._called = False
        if reply is TIMED_OUT:  # the call runs on, and reports to the protocol that its peer is lost
            self.protocol = None
            reply = _FAILED
        elif reply is FAILED:
            reply = _FAILED
        greets = isinstance(reply, Connected)
        if isinstance(reply, Connected):
            reply = self._connected(reply, now)
        is_request, self._request_pending = self._request_pending, False
        if self.phase is not CALLED or reply is _FAILED:
            self.counters.add(ABORTED, is_request)
            is_request = False
        if self.phase is not CALLED:  # the peer has gone, or broken the protocol: nothing is sent any more
            return
        data = reply.data if isinstance(reply, CloseAfter) else reply
        if data:
            self.codec.push(data)
        if is_request or data:
            self._deliver_later(0 if is_request else None, self._requested_at, None, now)
        if isinstance(reply, CloseAfter) or (self.leaving and not greets and not self._buffered()):
            self.close(now, linger=True)
        else:
            self._next_message(now)

    def _connected(self, connected: Connected, now: float) -> bytes | CloseAfter:
        """Keep the protocol, and frame what came while it was made; return the greeting."""
        self.protocol = connected.protocol
        self._idle_for = self._idle_timeout()
        if self._buffer:
            early, self._buffer = bytes(self._buffer), b""
            try:
                self._receive_plain(early, now)
            except PeerError:
                return CloseAfter(connected.data if isinstance(connected.data, bytes) else connected.data.data)
        return connected.data

    def _expire(self, now: float) -> None:
        progress = self._progress
        if self.codec.pending:
            self.lost(now)
        elif (
            self.phase is HEAD
            and progress is not None
            and self._limits.min_rate
            and progress.since < now
            and progress.keeps(self._limits.min_rate, now, 0)
        ):
            self.since = now  # a long message that comes fast enough
        else:
            self.close(now)

    def close_call(self) -> Call | CallStatus | None:
        if self._called:
            return PENDING
        if self.protocol is None:
            return None
        protocol, self.protocol = self.protocol, None
        return ServiceCall(_lose, self._endpoint, protocol)


class CloseAfter:
    """The last bytes for a peer: `data`, framed already."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


_FAILED: Final = CloseAfter(b"")


class Connected:
    """What the first call returns: the protocol of this peer, and its greeting."""

    __slots__ = ("data", "protocol")

    def __init__(self, protocol: ServiceProtocol, data: bytes | CloseAfter) -> None:
        self.protocol = protocol
        self.data = data


class ServiceCall(partial[Any]):
    """One of the functions below with its arguments: a call.Call."""

    __slots__ = ()

    @property
    def name(self) -> str:
        endpoint, target, *_ = self.args
        peer = target if isinstance(target, str) else target.peer
        return f"a call of {endpoint.service.__name__} for {peer or 'a local peer'}"

    def forget(self, reply: bytes | Connected | CloseAfter | CallStatus | None) -> None:
        """Report a lost peer to the protocol: the call returned too late, or was TIMED_OUT before it started."""
        endpoint, target, *_ = self.args
        if self.func is _request:
            _lose(endpoint, target)
        elif isinstance(reply, Connected):
            _lose(endpoint, reply.protocol)
        elif self.func is _lose and reply is TIMED_OUT:
            self()


def _greet(endpoint: ServiceEndpoint, peer: str) -> Connected | CloseAfter:
    try:
        protocol = endpoint.service()
        protocol.peer = peer
        greeting = protocol.connected()
        data = b"" if greeting is None else protocol.framing.wrap(greeting)
        return Connected(protocol, CloseAfter(data) if protocol.closing else data)
    except BaseException as error:
        endpoint.report(error, peer)
        return _FAILED


def _request(endpoint: ServiceEndpoint, protocol: ServiceProtocol, message: bytes) -> bytes | CloseAfter:
    try:
        response = protocol.request(message)
        data = b"" if response is None else protocol.framing.wrap(response)
    except BaseException as error:
        return failed(endpoint, protocol, error)
    return CloseAfter(data) if protocol.closing else data


def failed(endpoint: ServiceEndpoint, protocol: ServiceProtocol, error: BaseException) -> CloseAfter:
    """Report `error`, which a call has raised; return the reply in its place."""
    endpoint.report(error, protocol.peer)
    return _FAILED


def _lose(endpoint: ServiceEndpoint, protocol: ServiceProtocol) -> None:
    try:
        protocol.lost()
    except BaseException as error:
        endpoint.report(error, protocol.peer)

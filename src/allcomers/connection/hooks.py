"""What a kind of connection adds to `base.Connection`: the meaning of the bytes, and its own view of its peer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol

from allcomers.connection.call import Call
from allcomers.errors import Refusal


class Stream(Protocol):
    """A response in pieces.

    is_endless  bool: it does not end by itself, as one of server-sent events
    """

    @property
    def is_endless(self) -> bool: ...

    def framed_bytes(self, piece: bytes) -> bytes:
        """Frame a further piece, for a driver that sends it itself. Raises AnswerError."""
        ...


class Hooks:
    """Methods that a kind of connection overrides. `Connection` calls those with an underscore, a driver the others."""

    __slots__ = ()

    # ------------------------------------------------------------ for a driver

    multiplexes: ClassVar[bool] = False
    """Whether several of its calls may run at once."""

    taken: Any = None
    """Of one that multiplexes, the call that was taken last, as answered() has it."""

    session: Any = None
    """Of one that multiplexes, the state of its protocol, which a fast path uses while `is_idle`."""

    @property
    def is_idle(self) -> bool:
        """Whether the peer only has to send a request: a fast path may serve it alone, and report count_served()."""
        return False

    @property
    def request_deadline(self) -> float:
        """The time by which the response to the oldest request must have gone out; math.inf for any time."""
        return math.inf

    @property
    def stream(self) -> Stream | None:
        """The response of which a call that is due gives a further piece, in the thread that drives this; or None."""
        return None

    def adopt(
        self,
        unsent: bytes,
        records: Sequence[Any] | None,
        request: Any,
        begun: Any,
        received: bytes,
        requested_at: float,
        now: float,
    ) -> None:
        """Take over from a driver that served this peer by itself.

        unsent        is queued first: the end of responses that the driver has counted
        records       one for each of these that the log is to have, or None
        request       a request that it has counted, and whose call runs, or None; `requested_at` is its time
        begun         that call, if it is an AsyncCall; the StreamingBody of a response of which a part is sent; or None
        received      bytes that came after the request
        """
        raise NotImplementedError

    def hint(self, links: Iterable[bytes]) -> None:
        """Send these links ahead of the response (RFC 8297), where the protocol can. Raises AnswerError."""

    def release_body(self) -> Any:
        """Return the body that is due, for the driving thread to give all further pieces of it; None for none."""

    def cut(self, now: float) -> None:
        """End this peer, which holds most of all that peers hold: send the reason, where the protocol can."""
        self.lost(now)

    def lost(self, now: float) -> None:
        """Drop whatever was due."""
        raise NotImplementedError

    def close_call(self) -> Any:
        """Return the call that tells the app of the end, once, or None; PENDING while another of its calls runs."""

    # ------------------------------------------------------------ for Connection

    def _receive_plain(self, data: bytes, now: float) -> None:
        """Handle plain bytes of the peer. Raises Refusal or PeerError."""
        raise NotImplementedError

    def _receive_end(self, now: float) -> None:
        """Handle the peer's end of file. Raises Refusal or PeerError."""
        raise NotImplementedError

    def _handshake_done(self, now: float) -> None:
        """Note that the codec is ready: perhaps only now."""

    def _take_call(self) -> Call:
        """Return the call that is due, and enter CALLED."""
        raise NotImplementedError

    def _answered(self, call: Call | None, reply: Any, now: float) -> None:
        """Handle what the call returned."""
        raise NotImplementedError

    def _consumed(self, call: Call | None, now: float) -> None:
        """Note that `call`, which runs, may wait for more of what the peer sends."""

    def _delivered(self, item: Any, now: float) -> None:
        """Finish what waited in the delivery queue: its bytes have gone out."""

    @property
    def _awaits_body(self) -> bool:
        """Whether the call that runs waits for bytes of the peer."""
        return False

    @property
    def _has_request(self) -> bool:
        """Whether a request has arrived whose response is not queued whole."""
        return False

    def _call_deadline(self) -> float:
        """Return the time at which the peer must have sent more to the call that runs; math.inf for never."""
        return math.inf

    def _idle_timeout(self) -> float:
        """Return the seconds that a peer may be idle between two requests."""
        raise NotImplementedError

    def _buffered(self) -> int:
        """Return the bytes received that no call has consumed."""
        raise NotImplementedError

    def _memory(self) -> int:
        """Return the bytes of memory that are held of what the peer has sent."""
        return self._buffered()

    def _may_call(self) -> bool:
        """Return whether the call that is due may run before more is sent."""
        raise NotImplementedError

    def _refuse(self, refusal: Refusal, now: float) -> None:
        """Send the reason, where the protocol can, and close."""
        raise NotImplementedError

    def _expire(self, now: float) -> None:
        """End a peer that is too slow, or idle for too long."""
        raise NotImplementedError

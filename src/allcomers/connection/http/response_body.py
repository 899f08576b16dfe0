"""A response whose body comes in pieces: its state, and the steps that give the next piece.

A step runs wherever `--calls` says, as every call of the app does; it touches no connection, and never raises.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from allcomers.errors import AnswerError
from allcomers.protocol import encode
from allcomers.protocol.head import BARE
from allcomers.protocol.message import FileSlice, Piece, Request, Response, Segment, title

ENDLESS: Final = 1 << 62
"""The length of a body that nothing limits."""

WHOLE: Final = (bytes, FileSlice)  # a tuple: `bytes | FileSlice` would make a new union for each test
"""A body that is at hand; any other is an iterable of these."""


EncodeFields: TypeAlias = Callable[[Iterable[tuple[str, str]]], tuple[bytes, object]]
"""A version's encoder of an app's fields: encode.encode_fields, blocks.fields_block."""

_AnyPiece = TypeVar("_AnyPiece", bytes, FileSlice)


def cut(piece: Piece, size: int) -> Piece:
    """Return the first `size` bytes of `piece`; all of a shorter one."""
    if len(piece) <= size:
        return piece
    return FileSlice(piece.file, piece.offset, size) if isinstance(piece, FileSlice) else piece[:size]


def is_event_stream(response: Response) -> bool:
    """Return whether `response` is one of server-sent events (HTML, 9.2), which never ends by itself."""
    kinds = [value.lower() for name, value in response.headers if name.lower() == "content-type"]
    return any(kind.startswith("text/event-stream") for kind in kinds)


class FinalPiece:
    """The last piece of a StreamingBody that is filled rather than pulled: its end comes with it."""

    __slots__ = ("piece",)

    def __init__(self, piece: Piece) -> None:
        self.piece = piece


class EndOfBody(enum.Enum):
    """How an iterable ended."""

    COMPLETE = enum.auto()
    ABORTED = enum.auto()


class StreamingBody:
    """A response whose body comes in pieces, each by a call of one step, wherever calls run.

    first                    its first piece
    most, chunked, persists  as its Plan has them
    sent                     bytes of its body so far
    excess                   bytes beyond its Content-Length, which are not sent
    """

    __slots__ = ("chunked", "excess", "first", "most", "persists", "response", "sent")

    def __init__(self, response: Response, first: Piece | FinalPiece | EndOfBody = b"") -> None:
        self.response = response
        self.first = first
        self.most = ENDLESS
        self.chunked = False
        self.persists = False
        self.sent = self.excess = 0

    @property
    def left(self) -> int:
        return self.most - self.sent

    @property
    def is_endless(self) -> bool:
        """Whether it does not end by itself."""
        return self.most == ENDLESS and is_event_stream(self.response)

    @property
    def is_whole(self) -> bool:
        """Whether all has been sent that the head promises."""
        return self.most in (ENDLESS, self.sent)

    def framed(self, piece: Piece) -> Iterable[Segment]:
        """Frame a further piece; drop what is beyond its Content-Length (RFC 9112, 6.3). Raises AnswerError."""
        if isinstance(piece, FileSlice):
            piece.check()
            piece = self._within(piece)
            return encode.chunk(piece) if self.chunked else (piece,)
        return (self.framed_bytes(piece),)

    def framed_bytes(self, piece: bytes) -> bytes:
        """Frame a further piece that is no file, as framed()."""
        if len(piece) > self.most - self.sent:
            piece = self._within(piece)
        else:
            self.sent += len(piece)
        return encode.chunk_of(piece) if self.chunked else piece

    def _within(self, piece: _AnyPiece) -> _AnyPiece:
        """Count a further piece; return what is not beyond the Content-Length."""
        size = len(piece)
        piece = cut(piece, self.left)  # type: ignore[assignment]
        self.sent += len(piece)
        self.excess += size - len(piece)
        return piece

    def tail(self, request: Request, report: Callable[[BaseException, Request], object]) -> bytes:
        """Return the end of a body in chunks, once; b"" of any other. Trailers are for a client that declares that it
        accepts them (RFC 9110, 6.5.1)."""
        if not self.chunked or not self.is_whole:
            return b""
        self.chunked = False
        return encode.last_chunk(self.trailers(request, report, encode.encode_fields))

    def trailers(
        self, request: Request, report: Callable[[BaseException, Request], object], encoded: EncodeFields
    ) -> bytes:
        """Return the fields that follow the body, `encoded`: for a client that declares that it accepts them (RFC 9110,
        6.5.1)."""
        if self.response.trailers and b"trailers" in request.named.get(b"te", b"").lower():
            try:
                return encoded(self.response.trailers)[0]
            except Exception as error:  # the app's iterable; the response is out, all but its trailers
                report(error, request)
        return b""

    def step(self) -> Any:
        """Return the next piece, or the end: a Call, once the piece before has gone out."""
        raise NotImplementedError

    def stop(self) -> None:
        """Let the next step be the end."""

    def close(self) -> None:
        """Close what is open: no more of it is sent."""
        raise NotImplementedError

    def follow(self, before: StreamingBody) -> None:
        """Continue the response that `before` has begun."""
        self.most, self.chunked, self.persists, self.sent = before.most, before.chunked, before.persists, before.sent

    def stand_in(self) -> StreamingBody:
        """Return a body in the place of this one, whose call runs on, and closes this one."""
        other = StreamingBody(Response(status=self.response.status, headers=self.response.headers))
        other.most, other.chunked, other.sent = self.most, self.chunked, self.sent
        return other


class WrittenBody(StreamingBody):
    """A StreamingBody whose call gives the pieces while it runs: it has no steps, and the call closes what is open."""

    __slots__ = ()

    def __init__(self, response: Response) -> None:
        assert isinstance(response.body, WHOLE)
        super().__init__(response, response.body)

    def close(self) -> None:
        pass


class GatheredBody(StreamingBody):
    """A StreamingBody whose pieces were all given before any was sent: its response has them, as one."""

    __slots__ = ()

    def __init__(self, response: Response) -> None:
        assert isinstance(response.body, bytes)
        super().__init__(response, FinalPiece(response.body))

    def close(self) -> None:
        pass


class PulledBody(StreamingBody):
    """A StreamingBody whose pieces come from an iterable.

    pieces    the iterable
    report    called with what that raises, and the request
    is_bound  app code runs when a piece is pulled, or at the end: all of it in the thread that has called the app
    """

    __slots__ = ("_is_stopped", "_report", "_request", "is_bound", "pieces")

    def __init__(
        self,
        response: Response,
        pieces: Iterator[Any],
        report: Callable[[BaseException, Request], object],
        request: Request,
        is_bound: bool = True,
    ) -> None:
        super().__init__(response)
        self.pieces = pieces
        self._report = report
        self._request = request
        self._is_stopped = False
        self.is_bound = is_bound

    @property
    def name(self) -> str:
        return f"{title(self._request)}, a further piece"

    @property
    def outflow(self) -> Any:
        """What sends it from the thread of its call."""
        request = self._request
        if request.outflow is None:
            request.outflow = request.driver.outflow()
        return request.outflow

    @property
    def may_be_held(self) -> bool:
        """Whether its first piece may be held until there are more: nothing that its head has says how many bytes it
        takes."""
        response = self.response
        if type(self.first) is not bytes or not self.first or self._request.method == "HEAD" or response.status in BARE:
            return False
        try:
            _, ours = encode.encode_fields(response.headers)
        except Exception:  # raised again when it begins
            return False
        return ours is None or "content-length" not in ours

    def begin(self) -> None:
        """Pull the first piece. Raises what the app raises, and AnswerError."""
        self.first = self.pull()
        if isinstance(self.first, EndOfBody):
            self.close()

    def pull(self) -> Piece | FinalPiece | EndOfBody:
        """Return the next piece; EndOfBody.COMPLETE after the last. Raises what the app raises.

        Our own iterables may end with FinalPiece, which is closed when it has gone out, or with EndOfBody.ABORTED.
        """
        for piece in self.pieces:
            return piece if type(piece) is bytes else self.checked(piece)  # PERF: bytes most often
        return EndOfBody.COMPLETE

    def checked(self, piece: Any) -> Piece | FinalPiece | EndOfBody:
        """Return a piece that the iterable has given. Raises what its file does, and AnswerError."""
        if isinstance(piece, FileSlice):
            piece.check()  # here, where what it raises is the app's; it is checked again when it is queued
        elif not isinstance(piece, (bytes, FinalPiece)) and piece is not EndOfBody.ABORTED:
            raise AnswerError(f"a piece of a body is bytes or a FileSlice, not {type(piece).__name__}")
        return piece  # type: ignore[no-any-return]

    def over(self, error: BaseException | None = None) -> EndOfBody:
        """Close behind the last piece, or behind `error`. Return how the iterable has ended."""
        if error is not None:
            self.fail(error)
        self.close()
        return EndOfBody.COMPLETE if error is None else EndOfBody.ABORTED

    def step(self) -> Any:
        """Return the next piece; close where the iterable ends or the client has all that it was promised: a Call."""
        return self._step() if self._request.times is None else self._timed(self._step)

    def next(self) -> Any:
        """Return the next piece, or the end, which is not closed yet: a Call."""
        return self._timed(self._next)

    def next_while(self, takes: Callable[[bytes], bool]) -> Any:
        """Return the next piece that `takes` does not take, or the end, which is not closed yet: a Call.

        PERF: a call for the pieces that come without a wait, rather than five for each."""
        return self._timed(partial(self._next_while, takes))

    def _next_while(self, takes: Callable[[bytes], bool]) -> Any:
        if self._is_stopped:
            return self._next()
        try:
            for piece in self.pieces:
                if type(piece) is not bytes:
                    return self.checked(piece)
                if not takes(piece):
                    return piece
        except BaseException as error:
            self.fail(error)
            return EndOfBody.ABORTED
        return EndOfBody.COMPLETE

    def end(self) -> None:
        """Run close(): a Call."""
        self._timed(self.close)

    def _timed(self, call: Callable[[], Any]) -> Any:
        times = self._request.times
        if times is None:
            return call()
        with times:
            return call()

    def stop(self) -> None:
        self._is_stopped = True

    def _step(self) -> Piece | FinalPiece | EndOfBody:
        piece = self._next() if self.most > self.sent else EndOfBody.COMPLETE
        if type(piece) is not bytes and isinstance(piece, EndOfBody):
            self.close()
        return piece

    def _next(self) -> Piece | FinalPiece | EndOfBody:
        if self._is_stopped:
            end_early = getattr(self.pieces, "end_early", bytes)  # of a body whose coding has an end of its own
            return end_early() or EndOfBody.COMPLETE
        try:
            return self.pull()
        except BaseException as error:
            self.fail(error)
            return EndOfBody.ABORTED

    def close(self) -> None:
        """Run the app's close, once."""
        close, self.response.close = self.response.close, None
        if close is None:
            close = getattr(self.pieces, "close", None)  # a generator runs its finally now, not when collected
        if close is not None:
            try:
                close()
            except BaseException as error:
                self.fail(error)
        self.pieces = iter(())  # what only this holds ends here, in this thread

    def fail(self, error: BaseException) -> None:
        """Report what the app has raised, or why this cannot be sent."""
        self._report(error, self._request)

    def forget(self, reply: object) -> None:
        """Close, and drop the request: the piece comes too late for anybody."""
        self.close()
        self._request.drop()


class BodySource(Protocol):
    """The app's side of a PushedBody: asgi's HttpCall."""

    def go_on(self) -> Any:
        """Note that the piece before has gone out; return the next, or PENDING."""
        ...

    def leave(self) -> None:
        """Note that no more of it is sent."""
        ...


class PushedBody(StreamingBody):
    """A StreamingBody that the app fills, rather than one that is pulled."""

    __slots__ = ("_source",)

    def __init__(self, response: Response, first: Piece | FinalPiece, source: BodySource) -> None:
        super().__init__(response, first)
        self._source = source

    def step(self) -> Any:
        return self._source.go_on()

    def close(self) -> None:
        self._source.leave()

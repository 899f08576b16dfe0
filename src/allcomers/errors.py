"""Every error that allcomers raises, named by its cause.

Two families: faults of a peer (`Refusal`, `PeerError`: they end that peer's connection and no other) and faults that
the operator must mend (`ConfigError`, `AppError`, `ListenError`: one line and an exit code).
Beside them `HttpError`, with which a handler responds.
"""

from collections.abc import Iterable, Mapping


class AllcomersError(Exception):
    """The root of all errors here."""


class Refusal(AllcomersError):
    """A peer's message is refused: send `status` with `reason`, close the connection, read nothing that follows.

    `status` is the HTTP status (RFC 9110, section 15); `reason` is one line of printable ASCII of our own, without a
    byte that the peer sent.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class ClientGone(OSError):
    """Raised by an app's send() or write() once the client has disconnected or has its whole response (ASGI 2.4)."""


class SpoolFull(OSError):
    """Temporary files have all the bytes that --max-spool allows."""


class PeerError(AllcomersError):
    """A peer broke the protocol beneath the messages (TLS, a service's framing): no response is possible."""


class CompressionError(PeerError):
    """A header block is malformed (RFC 7541): what follows it cannot be read."""


class Http2Error(PeerError):
    """A peer broke HTTP/2 (RFC 9113, 5.4): RST_STREAM with `code` ends `stream`; GOAWAY the connection where that is 0.

    `reason` is one line of our own, without a byte that the peer sent.
    """

    def __init__(self, code: int, reason: str, stream: int = 0) -> None:
        super().__init__(f"{reason} (HTTP/2 error {code})")
        self.code = code
        self.reason = reason
        self.stream = stream


class AnswerError(AllcomersError):
    """An app's response cannot be sent as it is: a bad header, a body of the wrong type or length."""


class LoopMoved(BaseException):  # not an error, so that `except Exception` lets it pass
    """Another thread runs the loop that this thread ran: unwind this stack without a use of the loop."""


class CallAbandoned(BaseException):  # not an error: whoever catches these is not to catch it
    """The call that this thread ran has exceeded its time limit: its result is dropped."""


class HttpError(AllcomersError):
    """Raised by a handler: respond with `status`, 400 to 599, and `message` as a small plain text.

    The client sees `message`; where that is empty, the status's phrase ("Not Found"). `headers` are as for a Response
    (a 401 needs its WWW-Authenticate, RFC 9110 section 11.6.1). The connection stays open, unlike after a Refusal.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"HttpError: the status is {status}, not 400 to 599")
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.headers = list(headers.items() if isinstance(headers, Mapping) else headers)


class OperatorError(AllcomersError):
    """A fault that the operator must mend: one line on standard error, then `exit_code`."""

    exit_code = 1


class ListenError(OperatorError):
    """An address cannot be listened on: in use, not of this machine, not permitted."""


class SilentError(OperatorError):
    """No server responds at an address, or another one than was expected."""


class ConfigError(OperatorError):
    """An option has a bad value, or does not go with another."""

    exit_code = 2


class AppError(OperatorError):
    """The target cannot be loaded: no such module or attribute, or its import raised.

    `traceback` is the app's own part of the traceback, or empty.
    """

    exit_code = 3

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback

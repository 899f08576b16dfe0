"""Every error that allcomers raises, named by its cause.

Two families: what a peer did (`Refusal`, `PeerError`: it costs that peer its connection, nobody else
anything) and what the operator must mend (`ConfigError`, `AppError`, `ListenError`: one line and an exit code).
"""


class AllcomersError(Exception):
    """The root of all errors here."""


class Refusal(AllcomersError):
    """A peer's message is refused: answer `status` with `reason`, close, look at nothing that follows.

    `status` is the HTTP status (RFC 9110, section 15); `reason` is one line of printable ASCII that we wrote
    ourselves and that carries no byte of what the peer sent.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class PeerError(AllcomersError):
    """A peer broke the protocol beneath the messages (TLS, a service's framing): nothing can be answered."""


class AnswerError(AllcomersError):
    """An app's answer cannot be sent as it is: a bad header, a body of the wrong type or length."""


class OperatorError(AllcomersError):
    """Something that the person at the command line must mend: one line on standard error, then `exit_code`."""

    exit_code = 1


class ListenError(OperatorError):
    """An address cannot be listened on: taken, not ours, not permitted."""


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

"""The body of an answer that an async app sends piece by piece."""

from __future__ import annotations

from typing import Any, Protocol

from allcomers.connection.http.response_body import Last, Stream
from allcomers.protocol.message import Piece, Response


class Talk(Protocol):
    """Who is told how it goes out: http.Exchange."""

    def go_on(self) -> Any:
        """The piece before has gone out: the next, or LATER."""
        ...

    def leave(self) -> None:
        """Nobody takes any more of it."""
        ...


class Filled(Stream):
    """A Stream that the app fills, rather than one that is pulled."""

    __slots__ = ("_talk",)

    def __init__(self, response: Response, first: Piece | Last, talk: Talk) -> None:
        super().__init__(response, first)
        self._talk = talk

    def step(self) -> Any:
        return self._talk.go_on()

    def close(self) -> None:
        self._talk.leave()

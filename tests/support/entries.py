"""Entries for an access log, as a connection would make them."""

from __future__ import annotations

from typing import Any

APACHE_DOCS = 971211336.9
"""10 October 2000, 20:55:36 UTC: the line in Apache's manual."""


class Entry:
    """The answer of Apache's manual, but for what is said otherwise."""

    def __init__(
        self,
        *,
        fields: dict[str, str] | None = None,
        answer_fields: dict[str, str] | None = None,
        **changes: Any,
    ) -> None:
        self.stamp = ""
        self.when = APACHE_DOCS
        self.peer = "127.0.0.1"
        self.request_line = ("GET", "/apache_pb.gif", "1.0")
        self.line = ""
        self.host = ""
        self.status = 200
        self.sent = 2326
        self.seconds = 0.0012345678
        self.wait = self.app = self.write = 0.0
        for name, value in changes.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        self._fields = fields or {}
        self._answer_fields = answer_fields or {}

    def field(self, name: bytes) -> str:
        return self._fields.get(name.decode(), "")

    def answer_field(self, name: str) -> str:
        return self._answer_fields.get(name, "")


def asking(target: str, **changes: Any) -> Entry:
    return Entry(request_line=("GET", target, "1.1"), **changes)

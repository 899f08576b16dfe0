"""Responses of every kind, each sent in one step: paths of eager_app.py."""

from __future__ import annotations

from typing import Any

from support.apps.eager_parts import TALKS, answer


def kind(name: str, *, data: Any = b"Hello", **more: Any) -> None:
    async def do(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, data(scope) if callable(data) else data, **more)

    TALKS["/" + name] = do


for _status in (200, 204, 304, 299, 404, 503, 999, 101, 99, 1000, True, "200", None):
    kind(f"status_{_status}", status=_status)
for _size in (0, 16384, 16385, 300_000):
    kind(f"size_{_size}", data=b"x" * _size)
kind("array", data=bytearray(b"Hello"))
kind("view", data=memoryview(b"Hello"))
kind("text", data="Hello")
kind("nothing", data=None)
kind("length", headers=[(b"Content-Length", b"005")])
kind("wrong_length", headers=[(b"content-length", b"6")])
kind("short_length", headers=[(b"content-length", b"4")])
kind("two_lengths", headers=[(b"content-length", b"5"), (b"content-length", b"5")])
kind("no_length", headers=[(b"content-length", b"five")])
kind("cookies", headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
kind("dated", headers=[(b"date", b"yesterday"), (b"server", b"mine")])
kind("closes", headers=[(b"connection", b"close")])
kind("chunked", headers=[(b"transfer-encoding", b"chunked")])
kind("split", headers=[(b"a", b"b\r\nc: d")])
kind("latin", headers=[(b"a", "é".encode("latin-1"))])
kind("lists", headers=[[b"a", b"b"]])
kind("tuple", headers=((b"a", b"b"), (b"c", b"d")))
kind("texts", headers=[("a", "b")])
kind("threes", headers=[(b"a", b"b", b"c")])
kind("long_headers", headers=[(b"a", b"b" * 20_000)])
kind("no_headers", headers=())

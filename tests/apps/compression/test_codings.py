"""The codings themselves, and how much of them a process has at once."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allcomers import Request, Response
from allcomers.apps.compression import body
from allcomers.apps.compression.codings import ContentCoding, available, standard_zstd
from allcomers.apps.compression.policy import Policy
from allcomers.apps.compression.response import CompressedHandler

from .conftest import DECODE, DECODERS

CODINGS = {coding.name: coding for coding in available()}


def zstd_of_python() -> ContentCoding:
    """zstd by the module of Python 3.14, or by the package that has the same for older ones."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        zstd = pytest.importorskip("backports.zstd")
    return standard_zstd(zstd)


MAKERS: dict[str, Callable[[], ContentCoding]] = {
    **{name: lambda coding=coding: coding for name, coding in CODINGS.items()},  # type: ignore[misc]
    "zstd of Python": zstd_of_python,
}


def test_all_are_here() -> None:
    assert list(CODINGS) == ["zstd", "gzip", "br"]


@pytest.mark.parametrize("name", MAKERS)
@given(pieces=st.lists(st.binary(max_size=100), max_size=8), times=st.sampled_from([1, 2, 2000]))
@settings(deadline=None, max_examples=30)
def test_each_flush_gives_all_that_was_added(name: str, pieces: list[bytes], times: int) -> None:
    coding = MAKERS[name]()
    encoder, decode, sent = coding.stream(), DECODERS[coding.name](), b""
    for piece in pieces:
        sent += decode(encoder.add(piece * times) + encoder.flush())
        assert sent.endswith(piece * times)
    sent += decode(encoder.finish())
    assert sent == b"".join(piece * times for piece in pieces)
    assert DECODE[coding.name](coding.whole(sent)) == sent


@pytest.mark.parametrize("name", MAKERS)
def test_threads_do_not_mix_bodies(name: str) -> None:
    coding = MAKERS[name]()
    wrong = []

    def code(letter: bytes) -> None:
        for count in range(1, 200):
            data = letter * count * 100
            if DECODE[coding.name](coding.whole(data)) != data:
                wrong.append(letter)

    threads = [threading.Thread(target=code, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("name", CODINGS)
def test_a_stream_holds_little_memory(name: str) -> None:
    """Of each 500 KiB: docs/running.md. More would be a window of another size."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4

    noise = [bytes(range(256)) * 256, str(list(range(10_000))).encode()]
    gc.collect()
    before = resident()
    encoders = [CODINGS[name].stream() for _ in range(100)]
    for encoder in encoders:
        for data in noise * 3:
            encoder.add(data)
            encoder.flush()
    assert (resident() - before) / len(encoders) < 700


def test_no_more_streams_than_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(body, "MOST_ENCODERS", len(body._live) + 2)
    handler = CompressedHandler(
        lambda request: Response(iter([b"text"]), headers=[("Content-Type", "text/plain")]), Policy(available())
    )

    def ask() -> Response:
        return handler(Request(method="GET", target="/", fields=[(b"Accept-Encoding", b"gzip")]))

    first, second, third = ask(), ask(), ask()
    assert [("Content-Encoding", "gzip") in answer.headers for answer in (first, second, third)] == [True, True, False]
    assert ("Vary", "Accept-Encoding") in third.headers
    assert list(third.body) == [b"text"]  # type: ignore[arg-type]
    del first
    assert ("Content-Encoding", "gzip") in ask().headers

"""What the field has learnt the hard way: a test for each hole that some server had, with its number and its CVE.

Each is tried under a poller and under threads, over real sockets, and on a connection with no socket, whole and byte by
byte. Whatever is refused is refused with the right status and a closed connection, and what follows it (here: a
request that leaves a mark) never runs; the answer is the same however the bytes come; no traceback, no dead worker, no
spin. docs/security.md has a line for each. The holes from 71 to 75, in paths and ranges, are in tests/apps, 69 is in
test_connection.py.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from allcomers import Response
from allcomers.connection.base import HIGH_WATER
from support import offline
from support.apps import marked
from support.bad_input import APP, MARKER, Real, Refuse, Taken, case, cases, chunked, get, line, post
from support.harness import ROOT, Server, receive_all, serving, wait_for
from support.offline import Noted, answers, statuses
from support.staged import cpu_seconds

# ---------------------------------------------------------------- length


@cases(
    case("CVE-2024-6827", post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    case("the-other-order", post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n")),
    case("length-0", post(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    case("identity", post(b"Content-Length: 5", b"Transfer-Encoding: identity", body=b"hello"), 400, 501),
)
def test_01_length_with_transfer_encoding(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@cases(
    case("CVE-2020-10108", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    case("other-letters", post(b"Content-Length: 5", b"content-length: 0", body=b"hello")),
    case("far-apart", post(b"Content-Length: 5", b"A: b", b"CONTENT-LENGTH: 4", body=b"hello")),
)
def test_02_two_different_lengths(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


def test_03_two_equal_lengths(refuse: Refuse) -> None:
    refuse(post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"))


@cases(
    case("CVE-2019-16792", post(b"Content-Length: 5, 5", body=b"hello")),
    case("no-space", post(b"Content-Length: 5,5", body=b"hello")),
    case("different", post(b"Content-Length: 5, 6", body=b"hello")),
    case("empty-element", post(b"Content-Length: 5,", body=b"hello")),
    case("a-space", post(b"Content-Length: 5 5", body=b"hello")),
)
def test_04_a_list_of_lengths(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@cases(case("CVE-2022-24801", post(b"Content-Length: +5", body=b"hello")), case("+0", post(b"Content-Length: +0")))
def test_05_a_plus_sign(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@pytest.mark.parametrize("length", [b"-5", b"-0", b"-1"])
def test_06_a_minus_sign(refuse: Refuse, length: bytes) -> None:
    refuse(post(b"Content-Length: " + length, body=b"hello"))


@cases(case("CVE-2023-47627", post(b"Content-Length: 1_0", body=b"0123456789")))
def test_07_an_underscore(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@pytest.mark.parametrize("length", [b"0x5", b"0X5", b"5h", b"0b1", b"0o5", b"5e0", b"5.0", b"0x"])
def test_08_another_base(refuse: Refuse, length: bytes) -> None:
    refuse(post(b"Content-Length: " + length, body=b"hello"))


@cases(
    case("CVE-2023-40175", post(b"Content-Length:")),
    case("CVE-2023-40225", post(b"Content-Length: ")),
    case("white-space", post(b"Content-Length: \t ")),
    case("beside-one-that-is-not", post(b"Content-Length:", b"Content-Length: 5", body=b"hello")),
)
def test_09_an_empty_length(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@cases(
    case("CVE-2025-69224", post("Content-Length: \u0665".encode(), body=b"hello")),
    case("superscript-two", post(b"Content-Length: \xb2", body=b"he")),
    case("full-width", post("Content-Length: \uff15".encode(), body=b"hello")),
)
def test_10_a_unicode_digit(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@pytest.mark.parametrize(
    "length",
    [1 << 63, (1 << 63) - 1, 1 << 64, (1 << 64) + 5, 10**30, 10**4299, 10**5000],
    ids=lambda length: f"{length.bit_length()}-bits",
)
def test_11_a_length_over_2_to_the_63(refuse: Refuse, length: int) -> None:
    digits = b"1" + b"0" * 5000 if length == 10**5000 else b"%d" % length
    refuse(post(b"Content-Length: " + digits), (400, 413))


@pytest.mark.parametrize(
    "length", [b"\x0b5", b"\xa05", b"5\x0b", b"5\xa0", b"\x0c5", b"5\x00", b"\x005", b"\xef\xbb\xbf5"]
)
def test_12_white_space_that_is_none(refuse: Refuse, length: bytes) -> None:
    refuse(post(b"Content-Length: " + length, body=b"hello"))


@pytest.mark.parametrize("field", [b"Content-Length : 5", b"Content-Length\t: 5", b"Content-Length\x0b: 5"])
def test_13_a_space_before_the_colon(refuse: Refuse, field: bytes) -> None:
    refuse(post(field, body=b"hello"))


@cases(
    case("CVE-2024-27982", post(b" Content-Length: 5", body=b"hello")),
    case("the-first-field", b"POST / HTTP/1.1\r\n Content-Length: 5\r\nHost: a\r\n\r\nhello"),
    case("a-tab", post(b"\tContent-Length: 5", body=b"hello")),
    case("the-request-line", b" " + get()),
)
def test_14_a_head_line_that_begins_with_a_space(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@pytest.mark.parametrize("length", [b"0010", b"10", b"10 ", b"\t10", b"0" * 5000 + b"10"], ids=len)
def test_15_zeros_before_a_length_are_legal(taken: Taken, length: bytes) -> None:
    assert taken(post(b"Content-Length: " + length, body=b"0123456789"))["body"] == "0123456789"


# ---------------------------------------------------------------- transfer encoding


@pytest.mark.parametrize(
    "coding",
    [b"gzip", b"identity", b"chunked-not", b"xchunked", b"gzip, chunked", b"deflate", b"chunked;q=1", b"", b'"chunked"',
     b"cow"],
)  # fmt: skip
def test_16_cve_2024_1135_unknown_codings(refuse: Refuse, coding: bytes) -> None:
    refuse(post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"), (400, 501))


@cases(
    case("CVE-2019-16786", post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    case("CVE-2022-24790", post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n")),
    case("twice", post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
)
def test_17_chunked_that_is_not_last(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@pytest.mark.parametrize("coding", [b",chunked", b"chunked,", b", chunked", b"chunked ,", b",", b",,chunked"])
def test_18_empty_codings(refuse: Refuse, coding: bytes) -> None:
    refuse(post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"))


@pytest.mark.parametrize(
    "coding", [b"\x0bchunked", b"chunked\x0b", b"\x0cchunked", b"\x00chunked", b"\xa0chunked", b"chunked\x85"]
)
def test_19_cve_2019_16789_white_space_that_is_none(refuse: Refuse, coding: bytes) -> None:
    refuse(post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"))


@cases(
    case("GHSA-753j", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    case("CVE-2021-0020", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    case("gzip-first", post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400, 501),
)
def test_20_two_lines_of_codings(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@cases(
    case("CVE-2022-32215", post(b"Transfer-Encoding: chunked\r\n , identity", body=b"0\r\n\r\n")),
    case("at-its-beginning", post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n")),
    case("a-tab", post(b"Transfer-Encoding: chunked\r\n\t", body=b"0\r\n\r\n")),
)
def test_21_codings_that_are_folded(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


def test_22_chunked_in_http_1_0(refuse: Refuse) -> None:
    refuse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n")


# ---------------------------------------------------------------- chunks


@pytest.mark.parametrize(
    "size",
    [b"0x5", b"+5", b"-5", b"0_5", b"5Z", b" 5", b"\t5", b"", b"5 ", b"5\t", b"5\x0b", b"\xd9\xa5", b"5,", b"-0"],
)
def test_23_cve_2022_24761_chunk_sizes_that_are_none(refuse: Refuse, size: bytes) -> None:
    refuse(chunked(size + b"\r\nhello\r\n0\r\n\r\n"))


@pytest.mark.parametrize("size", [b"10000000000000005", b"F" * 16, b"F" * 17, b"F" * 1000, b"0" * 17 + b"5"], ids=len)
def test_23_chunk_sizes_over_2_to_the_64(refuse: Refuse, size: bytes) -> None:
    refuse(chunked(size + b"\r\nhello\r\n0\r\n\r\n"), (400, 413))


@pytest.mark.parametrize(
    "body", [b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"0\r\n\n"]
)
def test_24_cve_2025_22871_lf_alone(refuse: Refuse, body: bytes) -> None:
    refuse(chunked(body))


@pytest.mark.parametrize("body", [b"5;x\nhello\r\n0\r\n\r\n", b"0;x\n\r\n", b"2;\nxx\r\n0\r\n\r\n"])
def test_25_cve_2025_55315_lf_after_an_extension(refuse: Refuse, body: bytes) -> None:
    refuse(chunked(body))


@pytest.mark.parametrize("extension", [b";a\rb", b";\r", b";a\x00", b";\x0b", b";\x7f", b';a="\r"', b";a\x1f", b"\r"])
def test_26_control_bytes_in_an_extension(refuse: Refuse, extension: bytes) -> None:
    refuse(chunked(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n"))


@cases(
    case("CVE-2024-22019", chunked(b"5;" + b"x" * 65536 + b"\r\nhello\r\n0\r\n\r\n"), 400, 413, 431),
    case("CVE-2024-21647", chunked(b"1;xxxxxxxxxxxxxxx\r\n!\r\n" * 4096 + b"0\r\n\r\n"), 400, 413, 431),
    case("no-end", chunked(b"5;" + b"x" * 65536), 400, 413, 431),
)
def test_27_long_extensions(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@pytest.mark.parametrize("end", [b"XX", b"\rX", b"X\n", b"\n\n", b"\n", b"\r\r\n", b" \r\n", b"0\r\n\r\n"])
def test_28_cve_2025_43859_data_not_followed_by_crlf(refuse: Refuse, end: bytes) -> None:
    refuse(chunked(b"5\r\nhello" + end + b"0\r\n\r\n"))


@pytest.mark.parametrize("data", [b"hell", b"hello!", b"", b"hello world"])
def test_29_data_shorter_or_longer_than_said(refuse: Refuse, data: bytes) -> None:
    refuse(chunked(b"5\r\n" + data + b"\r\n0\r\n\r\n"))


@pytest.mark.parametrize("end", [b"XX", b"X\r\n", b"\rX\r\n", b"GET", b"00\r\n"])
def test_30_something_else_after_the_last_chunk(refuse: Refuse, end: bytes) -> None:
    refuse(chunked(b"0\r\n" + end))


@pytest.mark.parametrize(
    "trailer",
    [b"no colon", b" A: b", b"A : b", b": b", b"A: b\nC: d", b"A: b\rC: d", b"A: \x00", b"A: b\r\n c", b"A\x00: b",
     b"A\x0b: b", b"\x0bA: b"],
)  # fmt: skip
@pytest.mark.parametrize("before", [b"", b"Good: yes\r\n"], ids=["CVE-2025-58068", "CVE-2025-53643"])
def test_31_broken_trailers(refuse: Refuse, trailer: bytes, before: bytes) -> None:
    refuse(chunked(b"0\r\n" + before + trailer + b"\r\n\r\n"))


def test_31_trailers_replace_no_header(taken: Taken) -> None:
    trailers = b"Content-Length: 999\r\nTransfer-Encoding: gzip\r\nHost: evil\r\nX: y\r\n"
    seen = taken(chunked(b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n"))
    assert seen["headers"] == {"host": "a", "transfer-encoding": "chunked"}
    assert (seen["host"], seen["body"], seen["trailers"]["x"]) == ("a", "hello", "y")


def test_32_cve_2026_22815_too_many_trailers(refuse: Refuse) -> None:
    refuse(chunked(b"0\r\n" + b"A: b\r\n" * 20_000 + b"\r\n"), (431,))


def test_33_cve_2025_69229_many_small_chunks(real: Real) -> None:
    body = b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n"
    (worker,) = real.server.workers()
    before = cpu_seconds(worker)
    said = real.ask(chunked(body))
    assert cpu_seconds(worker) - before < 5
    assert len(json.loads(answers(said)[0][2])["body"]) == 200_000


def work(data: bytes, each: bool = False) -> int:
    """How many calls it takes to hear `data`: what a busy machine does not change."""
    count = 0

    def see(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    far = offline.http(marked.app)
    sys.setprofile(see)
    try:
        (far.hear_each if each else far.hear)(data)
    finally:
        sys.setprofile(None)
    return count


def test_33_work_is_linear_in_the_chunks() -> None:
    few, many = (chunked(b"1\r\nx\r\n" * count + b"0\r\n\r\n") for count in (1000, 4000))
    assert work(many) < 4.5 * work(few)
    assert work(many, each=True) < 4.5 * work(few, each=True)


# ---------------------------------------------------------------- head


@cases(
    case("CVE-2019-16785", b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n"),
    case("CVE-2021-41136", b"GET / HTTP/1.1\nHost: a\n\n"),
    case("the-first-line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    case("the-last-line", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    case("before-it", b"\n" + get()),
)
def test_34_bare_lf(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@cases(
    case("CVE-2023-30589", get(b"A: b\rContent-Length: 5")),
    case("in-a-name", get(b"A\rB: c")),
    case("at-the-end", get(b"A: b\r")),
    case("in-the-first-line", line(b"GET /\r HTTP/1.1")),
    case("after-it", line(b"GET / HTTP/1.1\r")),
    case("instead-of-crlf", b"GET / HTTP/1.1\rHost: a\r\r\r\n"),
)
def test_35_bare_cr(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


def test_36_cve_2025_23167_cr_lf_cr_x(refuse: Refuse) -> None:
    refuse(b"GET / HTTP/1.1\r\nHost: a\r\n\rX")


@pytest.mark.parametrize("byte", [0, 1, 7, 8, 11, 12, 14, 27, 31, 127])
def test_37_cve_2023_37276_control_bytes_in_a_value(refuse: Refuse, byte: int) -> None:
    refuse(get(b"A: b%cc" % byte))
    refuse(get(b"A: %c" % byte))


@pytest.mark.parametrize("fold", [b"A: b\r\n c", b"A: b\r\n\tc", b"A:\r\n b", b"A: b\r\n ", b"A: b\r\n \r\n c"])
def test_38_obs_fold(refuse: Refuse, fold: bytes) -> None:
    refuse(get(fold))


@pytest.mark.parametrize("field", [b": b", b":", b" : b", b"::"])
def test_39_cve_2023_25725_an_empty_name(refuse: Refuse, field: bytes) -> None:
    refuse(get(field))
    refuse(post(field, b"Content-Length: 5", body=b"hello"))


@pytest.mark.parametrize(
    "field",
    [b"no colon", b"A", b"A b: c", b"A(b): c", b"A\x00: b", b"A\x0b: b", b"A\x7f: b", b"\xc3\xa9: b", b"\xff: b",
     b'"A": b', b"A,B: c", b"A/B: c", b"A;B: c", b"A@B: c", b"[A]: b", b"{A}: b", b"A=B: c", b"A\\: b", b"\x00"],
)  # fmt: skip
def test_40_no_colon_or_bad_bytes_in_a_name(refuse: Refuse, field: bytes) -> None:
    refuse(get(field))


def test_41_cve_2021_40346_a_name_of_270_bytes(taken: Taken) -> None:
    """RFC 9110 limits no name: it is a field like any other, and its length runs over into nothing."""
    name = b"Content-Length0" + b"a" * 255
    assert len(name) == 270
    seen = taken(post(name + b":", b"Content-Length: 5", body=b"hello"))
    assert seen["body"] == "hello"
    assert seen["headers"][name.decode().lower()] == ""
    assert taken(get(name + b": 5"))["body"] == ""


@cases(
    case("a-value", get(b"A: " + b"b" * 33_000), 431),
    case("a-name", get(b"A" * 33_000 + b": b"), 431),
    case("64-KiB", get(b"A: " + b"b" * 65536), 431),
    case("1-MiB", get(b"A: " + b"b" * (1 << 20)), 431),
)
def test_42_a_field_over_the_limit(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@cases(
    case("CVE-2025-67725", get(*[b"A: b"] * 10_000), 431),
    case("different", get(*[b"A%d: b" % number for number in range(10_000)]), 431),
    case("short-of-the-size", get(*[b"A:"] * 5000), 431),
)
def test_43_ten_thousand_fields(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


def test_43_and_44_work_is_linear() -> None:
    for field in (b"A: b\r\n", b"Connection: close\r\n", b"X: " + b"y" * 1000 + b"\r\n"):
        few, many = (b"GET / HTTP/1.1\r\nHost: a\r\n" + field * count + b"\r\n" for count in (7, 28))
        assert work(many) < 4 * work(few) + 100
        assert work(many, each=True) < 4.5 * work(few, each=True) + 100
    begun = time.process_time()
    for _ in range(20):
        offline.http(marked.app).hear_each(b"GET / HTTP/1.1\r\nA: " + b"b" * 40_000)
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("size", [100, 1000, 40_000])
def test_44_cve_2026_54277_an_endless_line_in_pieces(real: Real, size: int) -> None:
    ran = real.ran()
    with real.server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nA: ")
        try:
            for _ in range(0, 400_000, size):
                sock.sendall(b"b" * size)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert statuses(receive_all(sock)) == [431]
    assert real.ran() == ran


def test_45_cve_2024_45614_names_with_an_underscore(taken: Taken) -> None:
    seen = taken(get(b"X-Forwarded-For: 1.1.1.1", b"X_Forwarded_For: 6.6.6.6", b"Content_Length: 5", b"_: x"))
    assert seen["headers"] == {"host": "a", "x-forwarded-for": "1.1.1.1"}


@cases(
    case("none", b"GET / HTTP/1.1\r\n\r\n"),
    case("another-field", b"GET / HTTP/1.1\r\nHos: a\r\n\r\n"),
    case("with-an-absolute-form", b"GET http://a/ HTTP/1.1\r\n\r\n"),
    case("empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    case("one-with-an-underscore", b"GET / HTTP/1.1\r\nHost_: a\r\n\r\n"),
)
def test_46_no_host(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@cases(
    case("CVE-2026-34525", get(b"Host: b")),
    case("equal", get(b"Host: a")),
    case("other-letters", get(b"hOST: a")),
    case("the-second-empty", get(b"Host:")),
    case("HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
)
def test_47_two_hosts(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


HOSTS = [
    b"a@b", b"a/b", b"a,b", b"a, b", b"a<b", b"a b", b"a:b", b":", b"a:-1", b"a:65536", b"a:123456", b"a:80:80",
    b"a?b", b"a#b", b"a\\b", b"[::1", b"::1", b"[::1]x", b"[g]", b"a\tb", b"\xc3\xa9", b'"a"', b"%", b"%0", b"a%zz",
    b"http://a", b"a;b=c@d", b"{a}", b"a^b", b"a|b",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_48_cve_2026_48710_hosts_that_are_none(refuse: Refuse, host: bytes) -> None:
    refuse(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")


@pytest.mark.parametrize("host", [host for host in HOSTS if not re.search(rb"[\s/?#\x80-\xff]", host)])
def test_48_nor_in_an_absolute_target(refuse: Refuse, host: bytes) -> None:
    refuse(b"GET http://" + host + b"/ HTTP/1.1\r\nHost: a\r\n\r\n")


@cases(
    case("CVE-2020-5236", get(b"A: " + b"x" * 30_000 + b"\x10")),
    case("spaces", get(b"A:" + b" " * 30_000 + b"\x10")),
    case("spaces-within", get(b"A: " + b"x " * 15_000 + b"\x10")),
    case("a-host", b"GET / HTTP/1.1\r\nHost: " + b"a." * 15_000 + b"@\r\n\r\n"),
    case("percents", b"GET / HTTP/1.1\r\nHost: " + b"%41" * 10_000 + b"%\r\n\r\n"),
    case("codings", post(b"Transfer-Encoding: " + b"a ," * 10_000 + b"\x0b")),
    case("codings-without-end", post(b"Transfer-Encoding: " + b"a , " * 8_000), 400, 501),
    case("a-name", get(b"A" * 30_000 + b"\x00: b")),
    case("a-target", line(b"GET http://" + b"a" * 30_000 + b"@ HTTP/1.1")),
    case("a-chunk-size", chunked(b"0" * 30_000)),
    case("an-extension", chunked(b"5" + b";a=b" * 4_000 + b"\x00\r\n")),
)
def test_49_values_built_to_hurt_a_regular_expression(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    begun = time.process_time()
    refuse(data, expected)
    assert time.process_time() - begun < 5


def test_49_work_is_linear_in_the_size() -> None:
    """The patterns cannot backtrack: four times the bytes take four times as long; a wide margin for the machine."""

    def seconds(size: int) -> float:
        shapes = (b"A: " + b"x " * size + b"\x10", b"A:" + b" \t" * size + b"\x10", b"Connection: " + b"a ," * size)
        begun = time.process_time()
        for shape in shapes:
            for _ in range(50):
                far = offline.http(marked.app)
                far.hear(get(shape))
        return time.process_time() - begun

    few = min(seconds(1000) for _ in range(3))
    many = min(seconds(8000) for _ in range(3))
    assert many < 8 * 4 * few


# ---------------------------------------------------------------- request line


@cases(
    case("two-spaces", line(b"GET  / HTTP/1.1")),
    case("two-more", line(b"GET /  HTTP/1.1")),
    case("at-the-end", line(b"GET / HTTP/1.1 ")),
    case("a-tab", line(b"GET\t/ HTTP/1.1")),
    case("another-tab", line(b"GET /\tHTTP/1.1")),
    case("a-vertical-tab", line(b"GET /\x0bHTTP/1.1")),
    case("LF", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    case("LF-within", line(b"GET /\nA HTTP/1.1")),
    case("no-version", line(b"GET /")),
    case("a-space-in-the-target", line(b"GET /a b HTTP/1.1")),
    case("HTTP/0.9", b"GET /\r\n"),
)
def test_50_white_space_in_the_request_line(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@cases(
    case("1.10", line(b"GET / HTTP/1.10")),
    case("2.0", line(b"GET / HTTP/2.0"), 505),
    case("0.9", line(b"GET / HTTP/0.9"), 505),
    case("1.2", line(b"GET / HTTP/1.2"), 505),
    case("9.9", line(b"GET / HTTP/9.9"), 505),
    case("01.1", line(b"GET / HTTP/01.1")),
    case("1.1.1", line(b"GET / HTTP/1.1.1")),
    case("small-letters", line(b"GET / http/1.1")),
    case("2", line(b"GET / HTTP/2")),
    case("a-unicode-digit", line("GET / HTTP/\u0661.1".encode())),
    case("-1.1", line(b"GET / HTTP/-1.1")),
    case("another-protocol", line(b"GET / HTTPS/1.1")),
)
def test_51_versions(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@pytest.mark.parametrize("byte", [0, 1, 8, 11, 12, 27, 31, 127, 128, 0xA0, 0xC3, 255])
def test_52_bytes_that_a_path_cannot_have(refuse: Refuse, byte: int) -> None:
    refuse(line(b"GET /a%cb HTTP/1.1" % byte))


@pytest.mark.parametrize(
    "target",
    [b"*", b"example.org:80", b"example.org", b"a/b", b"?a", b"#", b"/a#b", b"http:/a", b"http://", b"ftp://a/", b"..",
     b"file:///etc/passwd", b"%2f", b"\\"],
)  # fmt: skip
def test_53_targets_in_none_of_the_forms(refuse: Refuse, target: bytes) -> None:
    refuse(line(b"GET " + target + b" HTTP/1.1"))


@pytest.mark.parametrize("target", [b"a:443", b"/", b"*", b"http://a/", b"169.254.169.254:80"])
def test_54_connect(refuse: Refuse, target: bytes) -> None:
    refuse(line(b"CONNECT " + target + b" HTTP/1.1"), (400, 405, 501))


@cases(
    case("100-KB", line(b"GET /" + b"a" * 100_000 + b" HTTP/1.1"), 414),
    case("no-end", b"GET /" + b"a" * 100_000, 414),
    case("a-query", line(b"GET /?" + b"a=b&" * 25_000 + b" HTTP/1.1"), 414),
    case("a-method", line(b"G" * 100_000 + b" / HTTP/1.1"), 501),
)
def test_55_a_target_of_100_kb(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


@pytest.mark.parametrize("method", [b'G=":<>', b"G:T", b"G(T", b"G,T", b"", b"G\x00T", b"\xc3\xa9", b"GET/", b"[GET]"])
def test_56_methods_that_are_no_tokens(refuse: Refuse, method: bytes) -> None:
    refuse(line(method + b" / HTTP/1.1"))


@cases(
    case("TLS", bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) * 2),
    case("SSL-2", bytes.fromhex("802e0103010015000000100100800300800700c0060040020080")),
    case("SSH", b"SSH-2.0-OpenSSH_9.6p1 Debian-3\r\n"),
    case("HTTP/3", b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 400, 505),
    case("SMB", b"\x00\x00\x00\x85\xffSMBr"),
    case("RDP", b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00"),
    case("Redis", b"*1\r\n$4\r\nPING\r\n"),
    case("SMTP", b"EHLO example.org\r\n"),
    case("NULs", bytes(1000)),
)
def test_57_the_first_bytes_of_other_protocols(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


# ---------------------------------------------------------------- connection


@cases(
    case("CVE-2024-49768", get() + b"GET / HTTP/9.9\r\n\r\n", 505),
    case("a-body", get() + post(b"Content-Length: x", body=b"hello")),
    case("a-chunk", get() + chunked(b"5\r\nhelloX")),
    case("garbage", get() + b"\x00"),
)
def test_58_what_follows_a_refused_request_never_runs(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected, before=1)
    refuse(get() + data, expected, before=2)


def test_58_nor_what_comes_later(real: Real) -> None:
    ran = real.ran()
    with real.server.connect() as sock:
        sock.sendall(b"GET / HTTP/9.9\r\n\r\n")
        said = b""
        while not said.endswith(b".\n"):
            said += sock.recv(65536)
        for _ in range(5):  # it lingers, and listens to nothing
            sock.sendall(MARKER)
        assert receive_all(sock) == b""
    assert statuses(said) == [505]
    assert real.ran() == ran


def test_59_cve_2024_41671_pipelined_answers_are_in_order(real: Real) -> None:
    requests = b"".join(
        line(b"GET /big?n=%d HTTP/1.1" % (number * 7919 % 300_000))
        if number % 3
        else line(b"GET /%d HTTP/1.1" % number)
        for number in range(60)
    )
    found = answers(real.ask(requests))
    assert len(found) == 60
    for number, (status, _, body) in enumerate(found):
        assert status == 200
        if number % 3:
            assert body == b"x" * (number * 7919 % 300_000)
        else:
            assert json.loads(body)["target"] == f"/{number}"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
@pytest.mark.parametrize("upgrade", [(), (b"Connection: Upgrade", b"Upgrade: websocket"), (b"Upgrade: h2c",)], ids=len)
@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_60_bodies_of_any_request_are_consumed(
    taken: Taken, method: bytes, upgrade: tuple[bytes, ...], kind: str
) -> None:
    """gunicorn 26.2: what was left of it was the next request."""
    body = MARKER
    if kind == "length":
        data = post(b"Content-Length: %d" % len(body), *upgrade, body=body)
    else:
        data = post(b"Transfer-Encoding: chunked", *upgrade, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    seen = taken(data.replace(b"POST", method, 1))
    assert seen.get("body", MARKER.decode()) == MARKER.decode()


def test_61_cve_2026_54273_the_pipelined_queue_has_a_cap() -> None:
    far = offline.http(lambda request: Response(b"x" * 100), room=0)
    for _ in range(1000):
        far.hear(get() * 1000)
    assert far.conn.codec.unsent < 2 * HIGH_WATER
    assert far.conn._buffered() <= 3 * HIGH_WATER


def test_61_a_client_that_asks_and_never_reads_is_not_listened_to(real: Real) -> None:
    with real.server.connect(timeout=1.0) as sock:
        sent = 0
        with suppress(TimeoutError):  # nobody listens any more
            while sent < 100 << 20:
                sent += sock.send(line(b"GET /big?n=1000 HTTP/1.1") * 500)
        assert sent < 100 << 20
        real.assert_at_rest()
    assert real.ran() >= 0


@pytest.mark.parametrize("reset", [False, True])
def test_62_cve_2024_49769_connect_and_drop_costs_nothing(real: Real, reset: bool) -> None:
    real.ran()
    before = real.descriptors()
    for begun in (b"", b"GET", line(b"GET / HTTP/1.1"), post(b"Content-Length: 1000000", body=b"x" * 600_000)):
        for _ in range(100 if len(begun) < 1000 else 5):
            sock = real.server.connect()
            sock.sendall(begun)
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
    assert real.ran() >= 0
    wait_for(lambda: real.descriptors() <= before, "the descriptors to be closed")
    real.assert_at_rest()


@pytest.mark.parametrize("model", ["epoll", "thread", "thread-pool", "process", "iterative"])
def test_63_cve_2021_29509_idle_keep_alives_do_not_starve_newcomers(model: str) -> None:
    with serving("run", APP, "--model", model, "--threads", "4", "--max-connections", "4") as server:
        idle = []
        for _ in range(8):
            sock = server.connect()
            sock.sendall(get())
            idle.append(sock)
            begun = time.monotonic()
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            assert time.monotonic() - begun < 20
        begun = time.monotonic()
        for _ in range(4):  # who comes and goes finds a place too
            with server.connect() as sock:
                sock.sendall(get(b"Connection: close"))
                assert statuses(receive_all(sock)) == [200]
        assert time.monotonic() - begun < 20
        for sock in idle:
            sock.close()


@cases(
    case("CVE-2026-47737", b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" * 2 + get()),
    case("once", b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get()),
    case("unknown", b"PROXY UNKNOWN\r\n" + get()),
    case("version-2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12) + get()),
)
def test_64_a_proxy_line_that_nobody_expects(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


def test_64_a_proxy_line_later(refuse: Refuse) -> None:
    refuse(get() + b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get(), before=1)


@pytest.fixture(scope="module", params=["epoll", "thread"])
def impatient(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving("run", APP, "--model", request.param, "--head-timeout", "1", "--keep-alive", "1") as server:
        yield server


def test_65_a_slow_head(impatient: Server) -> None:
    """A byte every 50 ms buys no time; nor does silence, nor empty lines."""
    socks = {name: impatient.connect() for name in ("bytes", "silence", "lines")}
    begun = time.monotonic()
    for sock in socks.values():
        sock.settimeout(0.05)
    said = dict.fromkeys(socks, b"")
    ended: dict[str, float] = {}
    trickle = {"bytes": b"A", "silence": b"", "lines": b"\r\n"}
    while len(ended) < len(socks) and time.monotonic() - begun < 30:
        for name, sock in socks.items():
            if name in ended:
                continue
            try:
                sock.sendall(trickle[name])
                piece = sock.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                piece = b""
            said[name] += piece
            if not piece:
                ended[name] = time.monotonic() - begun
    for sock in socks.values():
        sock.close()
    assert set(ended) == set(socks)
    assert all(0.9 < seconds < 20 for seconds in ended.values()), ended
    assert statuses(said["bytes"]) == [408]
    assert said["silence"] == said["lines"] == b""


GRACE = 1.5


class Slow:
    """A client that sends a body at 10 bytes a second, and another that does not read; both of one server."""

    def __init__(self, server: Server) -> None:
        self.pid = server.workers()[0]
        self.begun = time.monotonic()
        self.reader = server.connect()
        self.reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.reader.sendall(line(b"GET /endless HTTP/1.1"))
        self.port = f":{self.reader.getsockname()[1]:04X}"
        self.sender = server.connect(timeout=0.05)
        self.sender.sendall(post(b"Content-Length: 100000"))
        self.said = b""
        self.refused = 0.0

    def step(self) -> bool:
        """Send a byte; has the server closed?"""
        if not self.refused:
            try:
                self.sender.sendall(b"x")
                piece = self.sender.recv(65536)
                self.said += piece
            except TimeoutError:
                return False
            except OSError:
                piece = b""
            if not piece:
                self.refused = time.monotonic() - self.begun
        return bool(self.refused)

    def is_cut(self) -> bool:
        """The server's end of the reader's connection has no descriptor any more (proc(5): its inode is 0)."""
        lines = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()
        own = [words for words in map(str.split, lines) if words[2].endswith(self.port)]
        return all(words[9] == "0" for words in own)


def test_66_and_67_a_slow_body_and_a_reader_that_does_not_read(tmp_path: Path) -> None:
    """All at once, with a part of the grace that each has; the exact times are those of test_connection."""
    (tmp_path / "sitecustomize.py").write_text(
        f"from allcomers.connection import progress\nprogress.GRACE, progress.STALL = {GRACE}, {2 * GRACE}\n"
    )
    with ExitStack() as stack:
        epoll, thread = (
            stack.enter_context(serving("run", APP, "--model", model, env={"PYTHONPATH": str(tmp_path)}))
            for model in ("epoll", "thread")
        )
        both = [Slow(server) for server in (epoll, thread)]
        wait_for(lambda: sum(slow.step() for slow in both) == len(both), "the slow bodies to be refused")
        for slow in both:
            assert slow.refused > GRACE - 0.1
            assert statuses(slow.said) == [408]
        assert not any(slow.is_cut() for slow in both)
        wait_for(lambda: all(slow.is_cut() for slow in both), "the readers to be cut off")
        for slow in both:
            slow.sender.close()
            slow.reader.close()


# ---------------------------------------------------------------- output


@pytest.mark.parametrize(
    "value", ["a%0d%0aSet-Cookie:%20b", "a%0ab", "a%0db", "%00", "%0d%0a%0d%0a<script>", "%c4%8a", "%7f"]
)
def test_68_cve_2020_7695_line_breaks_in_an_apps_header(value: str) -> None:
    """Also CVE-2025-67724. A reason of its own no app can give: a status is a number."""
    noted = Noted()
    far = offline.http(marked.app, noted=noted)
    far.hear(line(b"GET /header?value=%b HTTP/1.1" % value.encode()) + MARKER)
    assert statuses(far.said) == [500, 200]
    assert b"Set-Cookie" not in far.said
    assert b"<script>" not in far.said
    assert len(noted.errors) == 1


def test_68_over_a_socket() -> None:
    with serving("run", APP, quiet=False) as server:
        bad = line(b"GET /header?value=a%0d%0aSet-Cookie:%20b HTTP/1.1")
        place = Real(server)
        assert statuses(place.say(bad + bad + b"\x00")) == [500, 500, 400]  # and a bad request right behind it
        assert place.ran() == 0
        assert server.stderr.count("Traceback") == 2


HOSTILE = [
    b'GET /a"b\\c%0d%0a HTTP/1.1\r\nHost: a\r\n'
    b'User-Agent: x" 200 1 "-" "\\\xff\xa0\xc2\x9b\t\r\nReferer: \xe2\x80\xae\r\n\r\n',
    b"GET /\x1b[31m HTTP/1.1\r\n\r\n",
    b'GET /?a="%0a127.0.0.1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
]


@pytest.mark.parametrize("form", ["combined", "json"])
def test_70_cve_2020_7694_logs_are_escaped(tmp_path: Path, form: str) -> None:
    path = tmp_path / "access.log"
    with serving("run", APP, "--access-log", str(path), "--access-log-format", form) as server:
        place = Real(server)
        for data in HOSTILE:
            place.ask(data)
    lines = path.read_bytes().splitlines()
    assert len(lines) == len(HOSTILE)
    for text in lines:
        assert all(32 <= byte < 127 for byte in text), text
        if form == "json":
            json.loads(text)
        else:
            assert re.fullmatch(
                rb'\S+ - - \[[^]]+\] "(?:[^"\\]|\\.)*" \d{3} (?:\d+|-) "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"', text
            )


# ---------------------------------------------------------------- all of them


def source(name: str) -> str:
    return Path(__file__).with_name(name).read_text()


def names(text: str, before: str = "") -> set[str]:
    return set(re.findall(before + r"\b(test_[a-z0-9_]+)\b", text))


def test_each_line_of_the_page_has_its_test_and_each_test_a_line() -> None:
    page = (ROOT / "docs" / "security.md").read_text().partition("\n## Requests\n")[2].partition("\n## ")[0]
    rows = [row for row in page.splitlines() if row.startswith("|") and not row.startswith(("| what", "| ---"))]
    assert all(names(row.rpartition(" | ")[2]) for row in rows)
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert names(page) - names(tests, "def ") == set()
    here = names(source("test_bad_input.py"), r"\ndef (?=test_[0-9])") | names(source("test_http_rules.py"), "\ndef ")
    here |= names(tests, r"\ndef (?=test_bad_input_)")
    assert here - names(page) == set()


def test_a_good_request_is_taken(taken: Taken) -> None:
    """Or else all that is refused here would prove nothing."""
    assert taken(get())["method"] == "GET"
    assert taken(post(b"Content-Length: 5", body=b"hello"))["body"] == "hello"
    assert taken(chunked(b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n"))["body"] == "hello"

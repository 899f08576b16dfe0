"""Forms with files (RFC 7578): what is read of them, and what is refused."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.config.limits import InputLimits
from allcomers.errors import HttpError, SpoolFull
from allcomers.protocol import multipart
from allcomers.protocol.body import SPOOL_AT, Body
from allcomers.protocol.message import Request

Part = tuple[str, str | None, bytes]
"""A name, the name of a file or None, and bytes."""


def encoded(parts: list[Part], boundary: bytes = b"xYz") -> bytes:
    lines = []
    for name, filename, data in parts:
        file = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: text/plain'
        head = f'Content-Disposition: form-data; name="{name}"{file}'.encode()
        lines += [b"--", boundary, b"\r\n", head, b"\r\n\r\n", data, b"\r\n"]
    return b"".join([*lines, b"--", boundary, b"--\r\n"])


def request(data: bytes, kind: str = "multipart/form-data; boundary=xYz") -> Request:
    body = Body()
    body.write(data, last=True)
    return Request(method="POST", target="/", fields=[(b"Content-Type", kind.encode())], body=body)


@pytest.fixture
def limits() -> Iterator[None]:
    before = Request.input_limits
    Request.input_limits = InputLimits(form_size=1000, form_fields=3, form_parts=5, file_size=2000)
    yield
    Request.input_limits = before


def test_fields_and_files() -> None:
    came = request(encoded([("a", None, b"1"), ("f", "é.txt", b"x\r\ny"), ("a", None, "ü".encode()), ("f", "2", b"")]))
    assert came.form.pairs == [("a", "1"), ("a", "ü")]
    assert came.form == {"a": "ü"}
    first, second = came.files.all("f")
    assert (first.filename, first.content_type, first.size, first.read()) == ("é.txt", "text/plain", 4, b"x\r\ny")
    assert (second.filename, second.size, second.read(), second.file.read()) == ("2", 0, b"", b"")
    assert came.stream.read() == came.body  # which is still there


def test_a_file_can_be_read_as_any_other(tmp_path: Path) -> None:
    upload = request(encoded([("a", "a", b"?"), ("f", "f", b"one\ntwo\nthree"), ("b", "b", b"?")])).files["f"]
    assert upload.file.readlines() == [b"one\n", b"two\n", b"three"]
    assert upload.file.seek(-5, os.SEEK_END) == 8
    assert upload.file.read() == b"three"
    assert upload.file.seek(4) == 4
    assert list(io.TextIOWrapper(upload.file)) == ["two\n", "three"]
    upload.save(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == b"one\ntwo\nthree"
    with pytest.raises(FileExistsError):
        upload.save(tmp_path / "saved")


def test_large_files_have_one_temporary_file_and_end_with_the_call() -> None:
    parts: list[Part] = [(f"f{number}", "x", bytes([number]) * SPOOL_AT) for number in range(3)]
    before = set(Path("/proc/self/fd").iterdir())
    came = request(encoded(parts))
    assert [came.files[f"f{number}"].read() for number in range(3)] == [data for _, _, data in parts]
    opened = set(Path("/proc/self/fd").iterdir()) - before
    assert len(opened) == 2  # the body's, and that of all files
    kept = came.files["f2"]
    came.drop()
    assert not opened & set(Path("/proc/self/fd").iterdir())
    with pytest.raises(ValueError, match="closed"):
        kept.read()


class Counted:
    """A ledger that adds up, and has no room for more than `most` bytes of files."""

    tight = False

    def __init__(self, most: int) -> None:
        self.memory = self.spool = 0
        self._most = most

    def hold_memory(self, change: int) -> None:
        self.memory += change

    def hold_spool(self, change: int) -> None:
        if self.spool + change > self._most:
            raise SpoolFull("full")
        self.spool += change


@pytest.mark.parametrize("size", [10_000, SPOOL_AT + 1])
@pytest.mark.parametrize("dropped", [True, False])
def test_what_they_hold_is_counted_and_given_back(size: int, dropped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Counted(1 << 30)
    monkeypatch.setattr(Body, "ledger", ledger)
    came = request(encoded([("f", "x", b"x" * size)]))
    body, held = came._body, ledger.memory + ledger.spool
    assert body is not None
    assert came.files["f"].size == size
    assert ledger.memory + ledger.spool == held + size
    if dropped:
        came.drop()
    del came  # as one that came whole with its head, and that nobody drops
    assert ledger.memory + ledger.spool == (0 if dropped else held)
    body.close()
    assert (ledger.memory, ledger.spool) == (0, 0)


def test_no_room_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded([("f", "x", b"x" * SPOOL_AT), ("g", "y", b"yy")])
    ledger = Counted(len(data))  # as much as the body
    monkeypatch.setattr(Body, "ledger", ledger)
    came = request(data)
    with pytest.raises(HttpError) as caught:
        _ = came.files
    assert caught.value.status == 503
    assert (ledger.memory, ledger.spool) == (0, len(data))
    came.drop()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\Ada\\me.png", "me.png"),
        ("/", ""),
        ("..", ""),
        (".", ""),
        (".htaccess", "htaccess"),
        (" . a", "a"),
        ("a\r\nb\x00c", "a_b_c"),
        ('a"<b>', "a_b_"),
        ("\x80\ud800", "_"),
        ("ü" * 200 + ".tar.gz", "ü" * 126 + ".gz"),
    ],
)
def test_a_file_name_is_never_trusted(name: str, safe: str) -> None:
    assert multipart.safe_name(name) == safe


@given(st.text())
def test_no_file_name_is_a_path(name: str) -> None:
    safe = multipart.safe_name(name)
    assert not set(safe) & set("/\\\0\r\n")
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 255


def test_an_empty_choice_of_a_file_is_no_file() -> None:
    assert request(encoded([("f", "", b"")])).files == {}


BAD = [
    b"",
    b"nothing",
    b"--xYz",
    b"--xYz\r\n",
    b"--other--\r\n",
    encoded([("a", None, b"1")])[:-6],
    encoded([("", None, b"1")]),
    encoded([("a", None, b"\xff")]),
    b'--xYz\r\nContent-Disposition: attachment; name="a"\r\n\r\n1\r\n--xYz--',
    b'--xYz\r\nContent-Disposition: form-data; name="a"\n\n1\r\n--xYz--',
    b'--xYz\r\nContent-Disposition: form-data; name="a"\r\nContent-Length: 9\r\n\r\n1\r\n--xYz--',
    b"--xYz\r\n\r\n1\r\n--xYz--",
]


@pytest.mark.parametrize("data", BAD[1:])
def test_what_is_malformed_is_400(data: bytes) -> None:
    for attribute in ("form", "files"):
        with pytest.raises(HttpError) as caught:
            getattr(request(data), attribute)
        assert caught.value.status == 400


@pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'x' * 71}"])
def test_a_bad_boundary_is_400(boundary: str) -> None:
    with pytest.raises(HttpError) as caught:
        _ = request(encoded([("a", None, b"1")]), "multipart/form-data" + boundary).form
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([("a", None, b"x" * 600), ("b", None, b"y" * 600)], "fields of the form are larger"),
        ([("a", None, b"")] * 4, "more than 3 fields"),
        ([("a", "f", b"")] * 6, "more than 5 parts"),
        ([("a", "f", b"x" * 2001)], "file of the form is larger"),
        ([("a" * 5000, None, b"")], "a long head"),
    ],
)
def test_what_is_too_much_is_413(limits: None, parts: list[Part], says: str) -> None:
    with pytest.raises(HttpError, match=says) as caught:
        _ = request(encoded(parts)).form
    assert caught.value.status == 413


def test_what_is_just_enough_is_read(limits: None) -> None:
    came = request(encoded([("a", None, b"x" * 300)] * 3 + [("f", "f", b"y" * 2000)] * 2))
    assert (len(came.form.all("a")), len(came.files.all("f"))) == (3, 2)


NAMES = st.text("abcé-_ ;=.", min_size=1, max_size=10)


@given(st.lists(st.tuples(NAMES, st.none() | NAMES, st.binary(max_size=300) | st.just(b"\r\n--xY" * 20)), max_size=8))
def test_what_is_sent_is_read(parts: list[Part]) -> None:
    came = request(encoded([(name, file, data if file else data.hex().encode()) for name, file, data in parts]))
    assert came.form.pairs == [(name, data.hex()) for name, file, data in parts if file is None]
    assert [(name, upload.read()) for name, upload in came.files.pairs] == [
        (name, data) for name, file, data in parts if file is not None
    ]


@given(st.lists(st.sampled_from([b"--xYz", b"\r\n", b"--", b"a", b'Content-Disposition: form-data; name="a"',
       b'; filename="b"', b"\r", b"\n", b": ", b"\x00", b"Content-Length: 1"]), max_size=30).map(b"".join))  # fmt: skip
def test_no_bytes_break_it(data: bytes) -> None:
    came = request(data)
    with suppress(HttpError):
        assert came.form.keys() <= {"a"}

"""Site over real files in a temporary folder, called without a server."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from allcomers.apps.static import tree
from allcomers.apps.static.site import Site
from allcomers.errors import ConfigError
from allcomers.protocol.dates import http_date
from allcomers.protocol.message import SMALL, FileSlice, Request, Response

LARGE = bytes(range(256)) * 400  # 102,400 bytes: goes out as a FileSlice
TEXT = b"0123456789"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "public"
    (root / "docs").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.html").write_bytes(b"<p>home")
    (root / "docs" / "index.html").write_bytes(b"<p>docs")
    (root / "a b.txt").write_bytes(TEXT)
    (root / "large.mp4").write_bytes(LARGE)
    (root / "nothing.txt").write_bytes(b"")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return root


@pytest.fixture(autouse=True)
def no_leak() -> Iterator[None]:
    """Check that no test leaves a descriptor open."""
    before = set(Path("/dev/fd").iterdir())
    yield
    assert set(Path("/dev/fd").iterdir()) == before


def ask(site: Site, target: str = "/", method: str = "GET", prefix: str = "", **fields: str) -> Response:
    """Return the response to one request; `if_match="x"` is the field If-Match. Its body is read and closed."""
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
    request = Request(method=method, target=target, fields=pairs)
    request.prefix = prefix
    response = site(request)
    response.body = body_of(response)
    if response.close:
        response.close()
    return response


def body_of(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    if isinstance(response.body, FileSlice):
        return drain(response.body)
    return b"".join(piece if isinstance(piece, bytes) else drain(piece) for piece in response.body)


def drain(part: FileSlice) -> bytes:
    out = b""
    while part.count and (data := part.read(65536)):
        out += data
        part.skip(len(data))
    return out


def headers_of(response: Response) -> dict[str, str]:
    names = [name for name, _ in response.headers]
    assert len(names) == len(set(names)), "a field is doubled"
    for name, value in response.headers:
        assert (name + value).isascii()
        assert (name + value).isprintable()
    return dict(response.headers)


def header(response: Response, name: str) -> str | None:
    return headers_of(response).get(name)


# ---------------------------------------------------------------------------------------------------- files


def test_a_file_with_all_its_headers(root: Path) -> None:
    os.utime(root / "a b.txt", ns=(0, 784111777_000000005))
    response = ask(Site(root), "/a%20b.txt?v=1")
    assert (response.status, response.body) == (200, TEXT)
    assert headers_of(response) == {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "ETag": f'"{784111777_000000005:x}-a"',
        "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT",
    }


def test_index_of_the_root_and_of_a_folder(root: Path) -> None:
    site = Site(root)
    assert ask(site, "/").body == b"<p>home"
    assert ask(site, "/docs/").body == b"<p>docs"
    assert header(ask(site, "/docs/"), "Content-Type") == "text/html; charset=utf-8"


def test_small_files_are_read_and_large_ones_sliced(root: Path) -> None:
    (root / "small.bin").write_bytes(b"x" * SMALL)
    (root / "larger.bin").write_bytes(b"x" * (SMALL + 1))
    small = Site(root)(Request(method="GET", target="/small.bin"))
    assert small.body == b"x" * SMALL
    assert small.close is None
    larger = Site(root)(Request(method="GET", target="/larger.bin"))
    assert isinstance(larger.body, FileSlice)
    assert (larger.body.offset, larger.body.count) == (0, SMALL + 1)
    assert larger.close
    larger.close()
    larger.close()  # a second time harms nobody, even if the number is another file's by now
    assert larger.body.file.fileno() == -1


def test_an_answer_that_nobody_closes_holds_no_descriptor(root: Path) -> None:
    response = Site(root)(Request(method="GET", target="/large.mp4"))
    assert isinstance(response.body, FileSlice)
    del response  # no_leak looks


def test_large_and_empty_files(root: Path) -> None:
    assert ask(Site(root), "/large.mp4").body == LARGE
    empty = ask(Site(root), "/nothing.txt")
    assert (empty.status, empty.body) == (200, b"")


def test_head_is_as_get(root: Path) -> None:
    site = Site(root)
    for target in ("/", "/large.mp4", "/none", "/docs"):
        get, head = ask(site, target), ask(site, target, "HEAD")
        assert (get.status, get.headers, get.body) == (head.status, head.headers, head.body)


def test_file_that_shrinks_while_it_is_read_is_not_passed_off_as_whole(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pread", lambda fd, count, offset: b"012")
    response = Site(root)(Request(method="GET", target="/a%20b.txt"))
    assert isinstance(response.body, FileSlice)
    assert response.body.count == 10  # so the connection notices that bytes are missing
    assert response.close
    response.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.JS", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.wasm", "application/wasm"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.md", "text/markdown; charset=utf-8"),
        ("a.webm", "video/webm"),
        ("a.tar.gz", "application/gzip"),
        ("html", "text/html; charset=utf-8"),
        ("LICENSE", "application/octet-stream"),
        ("a.\udcff", "application/octet-stream"),
    ],
)
def test_media_types(root: Path, name: str, kind: str) -> None:
    (root / name).write_bytes(b"x")
    target = "/" + "".join(f"%{byte:02x}" for byte in os.fsencode(name))
    assert header(ask(Site(root), target), "Content-Type") == kind


def test_cache_control_on_files_only(root: Path) -> None:
    site = Site(root, cache_control="public, max-age=60")
    tag = header(ask(site), "ETag") or ""
    assert header(ask(site), "Cache-Control") == "public, max-age=60"
    assert header(ask(site, range="bytes=0-1"), "Cache-Control") == "public, max-age=60"
    assert header(ask(site, if_none_match=tag), "Cache-Control") == "public, max-age=60"
    assert header(ask(site, "/none"), "Cache-Control") is None


# -------------------------------------------------------------------------------------------------- methods


def test_what_a_handler_adds_to_a_response_is_not_kept_for_others(root: Path) -> None:
    site = Site(root)
    before = ask(Site(root), "/index.html").headers[:]
    for number in range(3):
        response = ask(site, "/index.html")
        assert response.headers == before
        response.headers.append(("Set-Cookie", f"session={number}"))


def test_options_tells_what_is_allowed(root: Path) -> None:
    for target in ("/", "/none", "*"):
        response = ask(Site(root), target, "OPTIONS")
        assert (response.status, header(response, "Allow")) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND"])
def test_a_method_of_http_that_files_have_not_is_405(root: Path, method: str) -> None:
    response = ask(Site(root), "/", method)
    assert (response.status, header(response, "Allow")) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("method", ["BREW", "get", "G"])
def test_an_unknown_method_is_501(root: Path, method: str) -> None:
    assert ask(Site(root), "/", method).status == 501


# ------------------------------------------------------------------------------------------------ redirects


def test_folder_without_slash_is_redirected_with_prefix_and_query(root: Path) -> None:
    response = ask(Site(root), "/docs?a=1&b=%20", prefix="/x y")
    assert (response.status, header(response, "Location")) == (301, "/x%20y/docs/?a=1&b=%20")
    assert header(ask(Site(root), "/docs"), "Location") == "/docs/"


def test_folder_with_nothing_to_show_is_404_with_and_without_slash(root: Path) -> None:
    assert ask(Site(root), "/empty").status == 404
    assert ask(Site(root), "/empty/").status == 404
    assert header(ask(Site(root, listing=True), "/empty"), "Location") == "/empty/"


def test_redirect_is_percent_encoded(root: Path) -> None:
    name = 'é <"> ?#%\udcff'
    (root / name).mkdir()
    (root / name / "index.html").write_bytes(b"x")
    target = "/" + "".join(f"%{byte:02x}" for byte in os.fsencode(name))
    location = header(ask(Site(root), target), "Location")
    assert location == "/%C3%A9%20%3C%22%3E%20%3F%23%25%FF/"
    assert ask(Site(root), location).body == b"x"


@pytest.mark.parametrize(
    "target",
    ["//docs", "//docs?", "/%2fdocs", "/%2f%2fdocs", "/\\docs", "/%5cdocs", "//evil.example/%2e%2e", "///docs"],
)
def test_bad_input_73_no_redirect_to_another_host(root: Path, target: str) -> None:
    (root / "\\docs").mkdir()
    (root / "\\docs" / "index.html").write_bytes(b"x")
    response = ask(Site(root, listing=True), target)
    assert response.status == 404
    assert header(response, "Location") is None


@pytest.mark.parametrize("prefix", ["/", "//evil.example", "//"])
def test_bad_input_73_not_even_by_the_prefix(root: Path, prefix: str) -> None:
    location = header(ask(Site(root), "/docs", prefix=prefix), "Location")
    assert location is not None
    assert location.startswith("/")
    assert location[1] not in "/\\"


@pytest.mark.parametrize("query", ["a\r\nSet-Cookie: x=1", "\0", "é\n", "\\"])
def test_bad_input_68_no_line_break_in_a_redirect(root: Path, query: str) -> None:
    location = header(ask(Site(root), "/docs?" + query), "Location")  # headers_of looks at every value
    assert location is not None
    assert location.startswith("/docs/?")


def test_bad_input_68_no_line_break_from_a_name(root: Path) -> None:
    (root / "a\r\nb").mkdir()
    (root / "a\r\nb" / "index.html").write_bytes(b"x")
    assert header(ask(Site(root), "/a%0d%0ab"), "Location") == "/a%0D%0Ab/"


# --------------------------------------------------------------------------------------------- preconditions


def test_if_none_match(root: Path) -> None:
    site = Site(root)
    whole = ask(site)
    tag = header(whole, "ETag") or ""
    for value in (tag, f"W/{tag}", f'"x,y", {tag}', "*", f'W/"x",{tag}'):
        response = ask(site, if_none_match=value)
        assert (response.status, response.body) == (304, b""), value
        assert header(response, "ETag") == tag
        assert header(response, "Last-Modified") == header(whole, "Last-Modified")
        assert header(response, "Content-Type") is None
    for value in ('"x"', tag.strip('"'), "", '"', f'"{tag}"', f"W/{tag[:-1]}"):
        assert ask(site, if_none_match=value).status == 200, value
    assert ask(site, method="HEAD", if_none_match=tag).status == 304


@pytest.mark.parametrize("first", [{}, {"if_none_match": "the tag"}], ids=["after the whole", "after another"])
@pytest.mark.parametrize("size", [9, SMALL + 1])
def test_a_304_of_a_known_file_is_that_of_an_unknown_one(root: Path, first: dict[str, str], size: int) -> None:
    file = root / "index.html"
    file.write_bytes(b"x" * size)
    tag = header(ask(Site(root, cache_control="no-cache")), "ETag") or ""
    asked = {"if_none_match": tag, "if_modified_since": http_date(1)}
    unknown = ask(Site(root, cache_control="no-cache"), **asked)
    site = Site(root, cache_control="no-cache")
    ask(site, **dict.fromkeys(first, tag))
    for _ in range(2):
        known = ask(site, **asked)
        assert (known.status, known.body, known.headers) == (304, b"", unknown.headers)
        assert ask(site).body == b"x" * size
        assert ask(site, if_none_match='"x"').status == 200
        assert ask(site, if_match='"x"', if_none_match=tag).status == 412
    file.write_bytes(b"another")
    assert ask(site, **asked).body == b"another"
    file.unlink()
    assert ask(site, **asked).status == 404


def test_if_modified_since(root: Path) -> None:
    os.utime(root / "index.html", (1000, 1_000_000))
    site = Site(root)
    assert ask(site, if_modified_since=http_date(1_000_000)).status == 304
    assert ask(site, if_modified_since=http_date(1_000_001)).status == 304
    assert ask(site, if_modified_since=http_date(999_999)).status == 200
    assert ask(site, if_modified_since="yesterday").status == 200


def test_if_match(root: Path) -> None:
    site = Site(root)
    tag = header(ask(site), "ETag") or ""
    assert ask(site, if_match=f'"x", {tag}').status == 200
    assert ask(site, if_match="*").status == 200
    assert ask(site, if_match='"x"').status == 412
    assert ask(site, if_match=f"W/{tag}").status == 412  # strong comparison: a weak tag never matches
    assert ask(site, "/none", if_match='"x"').status == 404  # conditions count only where there is something


def test_if_unmodified_since(root: Path) -> None:
    os.utime(root / "index.html", (1000, 1_000_000))
    site = Site(root)
    assert ask(site, if_unmodified_since=http_date(1_000_000)).status == 200
    assert ask(site, if_unmodified_since=http_date(999_999)).status == 412
    assert ask(site, if_unmodified_since="never").status == 200


def test_tags_come_before_dates(root: Path) -> None:
    os.utime(root / "index.html", (1000, 1_000_000))
    site = Site(root)
    tag = header(ask(site), "ETag") or ""
    later, earlier = http_date(2_000_000), http_date(1)
    assert ask(site, if_none_match='"x"', if_modified_since=later).status == 200
    assert ask(site, if_none_match=tag, if_modified_since=earlier).status == 304
    assert ask(site, if_match=tag, if_unmodified_since=earlier).status == 200
    assert ask(site, if_match='"x"', if_none_match=tag).status == 412
    assert ask(site, if_match=tag, if_none_match=tag).status == 304
    assert ask(site, if_none_match=tag, range="bytes=0-1").status == 304


def test_a_date_in_the_future_is_not_passed_on(root: Path) -> None:
    os.utime(root / "index.html", (1000, 1 << 33))
    last = header(ask(Site(root)), "Last-Modified")
    assert last is not None
    assert "2242" not in last
    os.utime(root / "index.html", (1000, -5))
    assert header(ask(Site(root)), "Last-Modified") == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_another_content_is_another_tag(root: Path) -> None:
    site = Site(root)
    first = header(ask(site), "ETag")
    (root / "index.html").write_bytes(b"longer than before")
    assert header(ask(site), "ETag") != first


# --------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("field", "part", "where"),
    [
        ("bytes=0-1", b"01", "bytes 0-1/10"),
        ("bytes=8-", b"89", "bytes 8-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", TEXT, "bytes 0-9/10"),
        ("bytes=5-99", b"56789", "bytes 5-9/10"),
        ("BYTES=0-0", b"0", "bytes 0-0/10"),
        ("bytes=,0-0 ,\t", b"0", "bytes 0-0/10"),
        ("bytes=99-,3-3", b"3", "bytes 3-3/10"),
    ],
)
def test_one_range(root: Path, field: str, part: bytes, where: str) -> None:
    response = ask(Site(root), "/a%20b.txt", range=field)
    assert (response.status, response.body, header(response, "Content-Range")) == (206, part, where)
    assert header(response, "Content-Type") == "text/plain; charset=utf-8"
    assert header(response, "ETag")


def test_a_range_of_a_large_file_is_a_slice(root: Path) -> None:
    response = ask(Site(root), "/large.mp4", range="bytes=1000-100999")
    assert (response.status, response.body) == (206, LARGE[1000:101000])


def test_several_ranges(root: Path) -> None:
    response = ask(Site(root), "/large.mp4", range="bytes=10-19, 0-0, -1")
    kind = header(response, "Content-Type") or ""
    boundary = kind.removeprefix("multipart/byteranges; boundary=").encode()
    assert len(boundary) == 32
    assert response.status == 206
    assert isinstance(response.body, bytes)
    assert header(response, "Content-Length") == str(len(response.body))
    assert header(response, "Content-Range") is None
    opening, *parts, end = (b"\r\n" + response.body).split(b"\r\n--" + boundary)
    assert (opening, end) == (b"", b"--\r\n")
    assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [LARGE[10:20], LARGE[:1], LARGE[-1:]]
    assert parts[0].startswith(b"\r\nContent-Type: video/mp4\r\nContent-Range: bytes 10-19/102400\r\n\r\n")


@pytest.mark.parametrize("field", ["bytes=10-", "bytes=99-100", "bytes=-0", "bytes=10-,11-,-0"])
def test_a_range_outside_is_416(root: Path, field: str) -> None:
    response = ask(Site(root), "/a%20b.txt", range=field)
    assert (response.status, header(response, "Content-Range")) == (416, "bytes */10")


@pytest.mark.parametrize(
    "field",
    [
        *("", "bytes", "bytes=", "bytes=,", "bytes=a-b", "bytes=2-1", "bytes=-", "bytes=1", "bytes=1-2-3", "bytes=--1"),
        *("bytes=+1-2", "bytes=1 - 2", "bytes=\xb2-", "bytes=1_0-", "bytes=0x1-", "bytes=0-1;2-3", "=0-1", "lines=1-2"),
    ],
)
def test_what_is_no_range_is_ignored(root: Path, field: str) -> None:
    response = ask(Site(root), "/a%20b.txt", range=field)
    assert (response.status, response.body) == (200, TEXT)


def test_ranges_are_for_get_of_something(root: Path) -> None:
    assert ask(Site(root), "/a%20b.txt", "HEAD", range="bytes=0-1").status == 200
    assert ask(Site(root), "/nothing.txt", range="bytes=0-1").status == 200
    assert ask(Site(root), "/none", range="bytes=0-1").status == 404


def test_if_range(root: Path) -> None:
    os.utime(root / "a b.txt", (1000, 1_000_000))
    site, target = Site(root), "/a%20b.txt"
    tag = header(ask(site, target), "ETag") or ""
    for holds in (tag, http_date(1_000_000)):
        assert ask(site, target, range="bytes=0-1", if_range=holds).status == 206
    for fails in (f"W/{tag}", '"x"', http_date(1_000_001), http_date(999_999), "x", f"{tag}, {tag}", "*"):
        assert ask(site, target, range="bytes=0-1", if_range=fails).status == 200
    assert ask(site, target, range="bytes=99-", if_range='"x"').status == 200


def test_bad_input_74_ten_thousand_ranges_are_one_whole_answer(root: Path) -> None:
    for spec in ("0-0,", "0-,", "-1,", "5-5,,", "99-,"):
        response = ask(Site(root), "/a%20b.txt", range="bytes=" + spec * 10_000)
        assert (response.status, response.body) == (200, TEXT)
    overlapping = ask(Site(root), "/large.mp4", range="bytes=" + ",".join(["0-"] * 100))
    assert (overlapping.status, overlapping.body) == (200, LARGE)


def test_bad_input_75_ranges_that_overflow(root: Path) -> None:
    huge = "9" * 30_000  # int() alone raises beyond 4,300 digits
    for field, status, body in (
        (f"bytes=0-{huge}", 206, TEXT),
        (f"bytes=-{huge}", 206, TEXT),
        (f"bytes={huge}-", 416, None),
        (f"bytes={huge}-{huge}", 416, None),
        (f"bytes=18446744073709551615-{huge}", 416, None),
        (f"bytes=-9223372036854775807,-{huge}", 200, TEXT),  # nginx 2017-7529: together more than the file
        (f"bytes={'0' * 30_000}1-2", 206, b"12"),
    ):
        response = ask(Site(root), "/a%20b.txt", range=field)
        assert response.status == status, field[:40]
        assert body is None or response.body == body


# -------------------------------------------------------------------------------------------------- codings


@pytest.fixture
def coded(root: Path) -> Site:
    for ending in ("", ".br", ".zst", ".gz"):
        (root / f"app.js{ending}").write_bytes(f"plain{ending}".encode())
    return Site(root)


@pytest.mark.parametrize(
    ("field", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP ; Q=1.0", "gzip"),
        ("*", "br"),
        ("*, br;q=0", "zstd"),
        ("br;q=0.5, gzip;q=0.9", "gzip"),
        ("br;q=0.001", "br"),
        ("br;q=0, gzip;q=0.000", None),
        ("identity;q=0, gzip", "gzip"),
        ("identity, gzip", "gzip"),
        ("identity;q=1, gzip;q=0.5", None),
        ("gzip;q=2, zstd;q=0.1", "zstd"),
        ("gzip;q=nan", None),
        ("gzip;q=", None),
        ("gzip;q=1.5, br;level=3", None),
        ("deflate", None),
        ("", None),
        pytest.param("br," * 10_000, None, id="10,000 codings"),
    ],
)
def test_coded_file_beside_the_plain_one(coded: Site, field: str, coding: str | None) -> None:
    response = ask(coded, "/app.js", accept_encoding=field)
    ending = {"br": ".br", "zstd": ".zst", "gzip": ".gz", None: ""}[coding]
    assert response.body == f"plain{ending}".encode()
    assert header(response, "Content-Encoding") == coding
    assert header(response, "Vary") == "Accept-Encoding"
    assert header(response, "Content-Type") == "text/javascript; charset=utf-8"


def test_nothing_acceptable_gets_the_plain_file(root: Path) -> None:
    response = ask(Site(root), "/", accept_encoding="identity;q=0, *;q=0")
    assert (response.status, response.body) == (200, b"<p>home")
    assert header(response, "Vary") is None


def test_each_coding_has_its_tag(coded: Site) -> None:
    tags = {header(ask(coded, "/app.js", accept_encoding=coding), "ETag") for coding in ("br", "zstd", "gzip", "")}
    assert len(tags) == 4
    tag = header(ask(coded, "/app.js", accept_encoding="br"), "ETag") or ""
    same = ask(coded, "/app.js", accept_encoding="br", if_none_match=tag)
    assert (same.status, header(same, "Vary"), header(same, "Content-Encoding")) == (304, "Accept-Encoding", None)
    assert ask(coded, "/app.js", accept_encoding="gzip", if_none_match=tag).status == 200


def test_range_of_a_coded_file(coded: Site) -> None:
    response = ask(coded, "/app.js", accept_encoding="gzip", range="bytes=-3")
    assert (response.status, response.body, header(response, "Content-Encoding")) == (206, b".gz", "gzip")
    assert header(response, "Content-Range") == "bytes 5-7/8"


def test_older_coded_file_is_ignored(root: Path, coded: Site) -> None:
    os.utime(root / "app.js", ns=(0, 50_000_000_900))
    os.utime(root / "app.js.br", ns=(0, 49_999_999_999))
    os.utime(root / "app.js.zst", ns=(0, 50_000_000_000))  # the plain file's date without its fraction, as gzip sets
    assert ask(coded, "/app.js", accept_encoding="br, zstd").body == b"plain.zst"
    assert ask(coded, "/app.js", accept_encoding="br").body == b"plain"


def test_coded_name_that_is_no_file_is_ignored(root: Path, tmp_path: Path) -> None:
    (root / "index.html.br").mkdir()
    (root / "index.html.zst").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(root / "index.html.gz")
    assert ask(Site(root), "/", accept_encoding="br, zstd, gzip").body == b"<p>home"


def test_coded_file_asked_for_by_its_own_name(coded: Site) -> None:
    response = ask(coded, "/app.js.gz", accept_encoding="gzip")
    assert (response.body, header(response, "Content-Type")) == (b"plain.gz", "application/gzip")
    assert header(response, "Content-Encoding") is None


def test_coded_index(root: Path) -> None:
    (root / "docs" / "index.html.gz").write_bytes(b"gz")
    assert ask(Site(root), "/docs/", accept_encoding="gzip").body == b"gz"


# ------------------------------------------------------------------------------------------------------ 404


def test_404_is_built_in_or_the_sites_own(root: Path) -> None:
    built_in = ask(Site(root), "/none")
    assert built_in.status == 404
    assert isinstance(built_in.body, bytes)
    assert b"404 Not Found" in built_in.body
    (root / "404.html").write_bytes(b"<p>ours")
    own = ask(Site(root), "/none", range="bytes=0-1", if_none_match="*")
    assert (own.status, own.body) == (404, b"<p>ours")
    assert headers_of(own) == {"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    assert ask(Site(root), "/404.html").status == 200
    (root / "404.html").write_bytes(LARGE)
    assert ask(Site(root), "/none").body == LARGE


def test_404_page_that_is_a_folder_or_leads_out(root: Path, tmp_path: Path) -> None:
    (root / "404.html").mkdir()
    assert b"404 Not Found" in body_of(ask(Site(root), "/none"))
    (root / "404.html").rmdir()
    (root / "404.html").symlink_to(tmp_path / "secret.txt")
    assert b"404 Not Found" in body_of(ask(Site(root), "/none"))


@pytest.mark.parametrize("target", ["/index.html/", "/a%20b.txt/", "/index.html/x", "/docs/index.html/", "*", ""])
def test_a_file_is_no_folder(root: Path, target: str) -> None:
    assert ask(Site(root, listing=True), target).status == 404


@pytest.mark.parametrize(
    "name", [".git/config", ".env", "docs/.htpasswd", ".hidden/a.txt", "...", ".well-known2", "docs/.well-known.txt"]
)
def test_hidden_files_are_hidden(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(b"secret")
    assert ask(Site(root, listing=True, follow_links=True), "/" + name).status == 404


def test_well_known_is_served(root: Path) -> None:
    (root / ".well-known").mkdir()
    (root / ".well-known" / "security.txt").write_bytes(b"x")
    (root / ".well-known" / ".secret").write_bytes(b"x")
    assert ask(Site(root), "/.well-known/security.txt").body == b"x"
    assert ask(Site(root), "/.well-known/.secret").status == 404


def test_what_is_no_file_is_404_and_does_not_hang(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "fifo")
    monkeypatch.chdir(root)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        (root / "null").symlink_to("/dev/null")
        for name in ("fifo", "socket", "null"):
            for follow in (False, True):
                assert ask(Site(root, follow_links=follow), f"/{name}").status == 404, name


def test_unreadable_is_as_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EACCES is raised by a patch, for the tests may run as root, for whom all files are readable."""
    _open_fails(monkeypatch, b"index.html", errno.EACCES)
    response = ask(Site(root), "/index.html")
    assert response.status == 404
    assert response.headers == ask(Site(root), "/none").headers


def test_no_descriptor_left_is_503(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (errno.EMFILE, errno.ENFILE):
        with monkeypatch.context() as patch:
            _open_fails(patch, b"a b.txt", number)
            response = ask(Site(root), "/a%20b.txt")
            assert (response.status, header(response, "Retry-After")) == (503, "1")


def test_a_broken_disk_is_told_to_the_operator(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _open_fails(monkeypatch, b"a b.txt", errno.EIO)
    with pytest.raises(OSError):
        ask(Site(root), "/a%20b.txt")


def test_each_call_of_the_system_may_fail_and_nothing_leaks(
    root: Path, coded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th open, fstat or pread fails, for every n, as SQLite tests itself; no_leak looks in the end."""
    (root / "link").symlink_to("docs")
    (root / "404.html").write_bytes(b"x")
    for call in ("open", "fstat", "pread"):
        for target in ("/docs/index.html", "/docs/", "/docs", "/app.js", "/none", "/link/", "/large.mp4", "/empty/"):
            for number in (errno.ENOENT, errno.EMFILE, errno.EIO, errno.ELOOP):
                for nth in range(8):
                    with monkeypatch.context() as patch:
                        _nth_fails(patch, call, nth, number)
                        try:
                            response = ask(Site(root, listing=True), target, accept_encoding="br, gzip")
                            assert response.status in (200, 301, 404, 503)
                        except OSError as error:
                            assert error.errno not in tree.SHORT or call != "open"  # noqa: PT017


def _open_fails(monkeypatch: pytest.MonkeyPatch, name: bytes, number: int) -> None:
    real = os.open

    def fails(path: bytes, *args: int, **named: int) -> int:
        if os.fsencode(path).endswith(name):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **named)

    monkeypatch.setattr(os, "open", fails)


def _nth_fails(monkeypatch: pytest.MonkeyPatch, call: str, nth: int, number: int) -> None:
    real = getattr(os, call)
    calls = iter(range(1000))

    def fails(*args: object, **named: object) -> object:
        if next(calls) == nth + (call == "open"):  # the first open is the constructor's
            raise OSError(number, os.strerror(number))
        return real(*args, **named)

    monkeypatch.setattr(os, call, fails)


# -------------------------------------------------------------------------------------------------- options


def test_a_site_is_shown_by_its_folder(root: Path) -> None:
    assert repr(Site(root)) == f"Site({str(root)!r})"


def test_bad_roots(tmp_path: Path, root: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no such folder: .*none$"):
        Site(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"^not a folder: .*secret.txt$"):
        Site(tmp_path / "secret.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        Site("a\0b")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="cannot be read"):
        Site(tmp_path / "loop")


@pytest.mark.parametrize("value", ["a\r\nb", "é", "\0", "a\n"])
def test_bad_cache_control(root: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="cache_control"):
        Site(root, cache_control=value)


def test_root_is_fixed_where_it_is_made(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    site = Site(".")
    monkeypatch.chdir(tmp_path)
    assert ask(site).body == b"<p>home"


def test_a_deploy_that_swaps_the_root_is_seen(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("public")
    site = Site(tmp_path / "current")
    assert ask(site).body == b"<p>home"
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "index.html").write_bytes(b"next")
    (tmp_path / "new").symlink_to("next")
    (tmp_path / "new").rename(tmp_path / "current")
    assert ask(site).body == b"next"


def test_only_who_asked_before_the_last_look_is_spared_one(root: Path) -> None:
    site = Site(root)

    def body(ready_at: float) -> object:
        request = Request(method="GET", target="/index.html")
        request.ready_at = ready_at
        return site(request).body

    body(0.0)  # from here on it is kept
    early = monotonic()
    assert body(early) == b"<p>home"  # which was a look
    (root / "index.html").write_bytes(b"<p>new")
    assert body(early) == b"<p>home"
    assert body(monotonic()) == b"<p>new"
    for number in range(3):  # nobody knows when these came
        (root / "index.html").write_bytes(b"<p>newer %d" % number)
        assert body(0.0) == b"<p>newer %d" % number


def test_a_large_file_has_the_fields_that_it_had_while_it_is_the_same(root: Path) -> None:
    site = Site(root)
    first = site(Request(method="GET", target="/large.mp4"))
    second = site(Request(method="GET", target="/large.mp4"))
    assert first.headers == second.headers
    assert first.close is not None
    first.close()
    assert body_of(second) == LARGE  # each has a descriptor of its own
    assert second.close is not None
    second.close()
    (root / "large.mp4").write_bytes(b"b" * 30_000)
    third = ask(site, "/large.mp4")
    assert third.body == b"b" * 30_000
    assert headers_of(third)["ETag"] != headers_of(first)["ETag"]


def test_the_file_systems_root_can_be_a_site() -> None:
    site = Site("/", listing=True)
    assert ask(site, "/etc/passwd").status == 200
    assert ask(site, "/").status == 200

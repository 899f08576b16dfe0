"""Site: a folder of files, served over HTTP as nginx or Caddy would.

This file chooses the response to a path. `tree` keeps a path inside the folder; `conditions`, `ranges` and
`precompressed` read the fields of a request; `html` writes pages.

A request goes through these steps, each of which may end it:

    method → names in the path → open → index, redirect or list of a folder → the best coding beside the file
    → preconditions (304, 412) → ranges (206, 416) → the file

The 404 is always the same, for a file that is missing, hidden or unreadable, a link that leads out, or a folder with
nothing to show: the response does not reveal which names exist.
"""

from __future__ import annotations

import os
import time

from allcomers.apps.static import conditions, ranges
from allcomers.apps.static.cache import FileCache
from allcomers.apps.static.html import error_page, folder_page
from allcomers.apps.static.listing import entries
from allcomers.apps.static.media_types import media_type
from allcomers.apps.static.precompressed import CODINGS, Coding, preferred
from allcomers.apps.static.tree import ABSENT, SHORT, Opened, Tree, absent, split
from allcomers.apps.web import REGISTERED, HandlerObject
from allcomers.errors import ConfigError
from allcomers.protocol import dates
from allcomers.protocol.message import SMALL, FileSlice, Request, Response
from allcomers.system import descriptors

Fields = list[tuple[str, str]]

INDEX = b"index.html"
NOT_FOUND = b"404.html"

_ALLOW = ("Allow", "GET, HEAD, OPTIONS")
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_VARY = ("Vary", "Accept-Encoding")
_RANGES = ("Accept-Ranges", "bytes")

_CONDITIONS = conditions.CONDITIONAL | {"range"}
"""Fields that change a response; for a request without them, the common one, they cost nothing."""


class Site(HandlerObject):
    """A handler that serves the files below the folder `root`.

    listing        list a folder that has no index.html; else it is 404
    cache_control  the Cache-Control value of each file, as "max-age=3600"; None sends none, and browsers guess
    follow_links   serve the targets of symbolic links outside of the root, too. Links inside are always served

    `site(request)` returns a Response; it opens no socket, and keeps no descriptor from one request to the next. Any
    number of threads may call it at once. A file `404.html` in the root is the body of a 404.

    Raises ConfigError for a root that is no readable folder, and a cache_control that no header can hold.
    """

    __slots__ = ("_cache", "_cache_control", "_listing", "_root", "_tree")

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        listing: bool = False,
        cache_control: str | None = None,
        follow_links: bool = False,
    ) -> None:
        self._root = _checked_root(root)
        self._tree = Tree(os.fsencode(self._root), follow_links=follow_links)
        self._listing = listing
        self._cache = FileCache(_CONDITIONS)
        self._cache_control: Fields = [("Cache-Control", _checked_value(cache_control))] if cache_control else []

    def __repr__(self) -> str:
        return f"Site({self._root!r})"

    def __call__(self, request: Request) -> Response:
        """Return the response to one request: 200, 204, 206, 301, 304, 404, 405, 412, 416, 501, or 503 where this
        process has no descriptor left. Raises OSError only for a fault of the machine, as of a disk (EIO)."""
        if cached := self._cache.find(request):
            return cached
        if request.method not in ("GET", "HEAD"):
            return _without_file(request.method)
        try:
            return self._get(request)
        except OSError as error:
            if error.errno in ABSENT:
                return self._not_found()
            if error.errno in SHORT:
                descriptors.note(error)
                return error_page(503, [("Retry-After", "1")])
            raise

    def _get(self, request: Request) -> Response:
        names = split(request.path)
        if not names[-1]:
            return self._folder(request, names[:-1])
        opened = self._tree.open(names)
        if opened.is_folder:
            opened.close()
            return self._redirect(request, names)
        return self._file(request, names, opened)

    def _folder(self, request: Request, names: list[bytes]) -> Response:
        """Return the response to a path that ends in "/": its index.html, or its list."""
        index = [*names, INDEX]
        opened = self._index(index)
        if opened:
            return self._file(request, index, opened)
        if not self._listing:
            raise absent()
        return self._list(request, names)

    def _index(self, index: list[bytes]) -> Opened | None:
        try:
            opened = self._tree.open(index)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise
        if not opened.is_folder:
            return opened
        opened.close()
        return None

    def _redirect(self, request: Request, names: list[bytes]) -> Response:
        """Redirect a folder's path without its last "/", with which the links in its page would lead elsewhere."""
        if not self._listing:
            opened = self._index([*names, INDEX])
            if opened is None:
                raise absent()
            opened.close()
        from urllib.parse import quote, quote_from_bytes  # late, as in message.py

        prefix = quote(request.prefix, encoding="utf-8", errors="surrogateescape").strip("/")
        path = quote_from_bytes(b"/".join(names))
        # Made of names, none of which is empty, so that it cannot start with "//" and lead to another host; and none
        # has a backslash, which browsers treat as a "/" (tornado 2023-28370).
        location = "/".join(["", *filter(None, (prefix, path)), ""])
        query = quote(request.query, safe="%/:?[]@!$&'()*+,;=~", encoding="utf-8", errors="surrogateescape")
        return error_page(301, [("Location", f"{location}?{query}" if query else location)])

    def _list(self, request: Request, names: list[bytes]) -> Response:
        folder = self._tree.open(names)
        try:
            if not folder.is_folder:
                raise absent()
            found, left_out = entries(self._tree, names, folder)
        finally:
            folder.close()
        return folder_page(request.prefix + request.path, found, has_parent=bool(names), left_out=left_out)

    def _not_found(self) -> Response:
        """Return the site's own page of a 404, whole and without validators: it is not the requested file."""
        try:
            opened = self._index([NOT_FOUND])
        except OSError:
            opened = None
        if opened is None:
            return error_page(404)
        return _send(opened, 0, opened.size, 404, [("Content-Type", media_type(NOT_FOUND)), _NOSNIFF])

    def _file(self, request: Request, names: list[bytes], opened: Opened) -> Response:
        """Return the response from an open file, which is closed here or by the response."""
        if fields := self._cache.fields(request, opened.file_id):
            return _send(opened, 0, opened.size, 200, fields)
        path = self._tree.path(names)
        # PERF: 3 times 0.4 µs, where an attempt to open or stat costs 1.1 each (python bench/request/site.py).
        found = [coding for coding in CODINGS if os.access(path + coding.ending, os.F_OK)]
        coding = None
        if found:
            opened, coding = self._coded(request, names, opened, found)
        response = None
        try:
            response = self._represent(request, names[-1], opened, coding, varies=bool(found))
            if not found:
                self._cache.keep(request, path, opened.file_id, response)
            return response
        finally:
            if response is None or response.close is None:  # not needed any more: an error, a 304, a small file
                opened.close()

    def _coded(
        self, request: Request, names: list[bytes], plain: Opened, found: list[Coding]
    ) -> tuple[Opened, Coding | None]:
        """Return the best of the coded files beside `plain` for this client; `plain` itself if there is none."""
        for coding in preferred(request.headers.get("accept-encoding", "")):
            if coding not in found:
                continue
            try:
                coded = self._tree.open([*names[:-1], names[-1] + coding.ending])
            except OSError:
                continue
            # By the second: gzip and brotli copy the plain file's date, some without its fraction.
            if not coded.is_folder and coded.modified >= plain.modified:
                plain.close()
                return coded, coding
            coded.close()
        return plain, None

    def _represent(
        self, request: Request, name: bytes, opened: Opened, coding: Coding | None, *, varies: bool
    ) -> Response:
        """Return the response from the chosen file: whole, in parts, or its head alone."""
        suffix = f"-{coding.name}" if coding else ""  # a tag for each coding (RFC 9110 section 8.8.3.3)
        etag = f'"{opened.mtime_ns:x}-{opened.size:x}{suffix}"'
        modified = min(max(opened.modified, 0), int(time.time()))  # never after Date (section 8.8.2.1)
        fields = [("ETag", etag), ("Last-Modified", dates.http_date(modified)), *self._cache_control]
        if varies:
            fields.append(_VARY)
        parts = None
        if not _CONDITIONS.isdisjoint(request.headers):
            status = conditions.verdict(request.headers, etag, modified)
            if status != 200:
                return Response(status=304, headers=fields) if status == 304 else error_page(status)
            parts = _parts(request, opened.size, etag, modified)
        if coding:
            fields.append(("Content-Encoding", coding.name))
        kind = media_type(name)
        if parts is None:
            return _send(opened, 0, opened.size, 200, [("Content-Type", kind), _NOSNIFF, _RANGES, *fields])
        return _send_parts(opened, parts, kind, [_NOSNIFF, _RANGES, *fields])


def _parts(request: Request, size: int, etag: str, modified: int) -> ranges.Ranges | None:
    """Return the parts that a Range field selects; None for the whole. GET alone has ranges (RFC 9110 section 14.2)."""
    field = request.headers.get("range")
    if field is None or request.method != "GET":
        return None
    if not conditions.range_holds(request.headers.get("if-range"), etag, modified):
        return None
    return ranges.parse(field, size)


def _send_parts(opened: Opened, parts: ranges.Ranges, kind: str, headers: Fields) -> Response:
    size = opened.size
    if not parts:
        return error_page(416, [("Content-Range", f"bytes */{size}")])
    if len(parts) == 1:
        first, count = parts[0]
        part = ("Content-Range", ranges.content_range(first, count, size))
        return _send(opened, first, count, 206, [("Content-Type", kind), part, *headers])
    pieces, length, kind = ranges.multipart(opened, size, kind, parts)
    headers = [("Content-Type", kind), ("Content-Length", str(length)), *headers]
    return Response(pieces, status=206, headers=headers, close=opened.close)


def _send(opened: Opened, first: int, count: int, status: int, headers: Fields) -> Response:
    """Return `count` bytes from `first` on: read and closed at once if they are few, else as a FileSlice."""
    body = FileSlice(opened, first, count)
    data = body.whole(SMALL)  # None for a file that is being cut: as a slice its response is visibly cut, too
    if data is None:
        return Response(body, status=status, headers=headers, close=opened.close)
    opened.close()
    return Response(data, status=status, headers=headers)


def _without_file(method: str) -> Response:
    """Return the response to other methods than GET and HEAD: the same for each path, so it reveals no file."""
    if method == "OPTIONS":
        return Response(status=204, headers=[_ALLOW])
    if method in REGISTERED:
        return error_page(405, [_ALLOW])
    return error_page(501)


def _checked_root(root: str | os.PathLike[str]) -> str:
    try:
        path = os.path.join(os.getcwd(), root)  # noqa: PTH109, PTH118 (not Path: its import costs 4 ms of start-up)
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    except NotADirectoryError:
        raise ConfigError(f"not a folder: {root}") from None
    except FileNotFoundError:
        raise ConfigError(f"no such folder: {root}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigError(f"a folder that cannot be read: {root!r} ({error})") from None
    return path


def _checked_value(value: str) -> str:
    """Return `value` if it is a field value (RFC 9110 section 5.5). Raises ConfigError."""
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(f"cache_control must be printable ASCII, not {value!r}")
    return value

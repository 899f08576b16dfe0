r"""Lines of the access log: their fields, and the formatting of a response as a line.

A format is a name, or text with fields that are replaced by the values of a response: the fields of gunicorn, those of
uvicorn, and some of our own that split the time. It is read once, into a function; an unknown field is an error then.

All text of a client is escaped, so that it cannot end a line, forge a field or move the cursor of a reader's terminal
(CVE-2020-7694 in uvicorn): a line is printable ASCII and nothing else, except for tabs of the format itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple, Protocol, TypeAlias

from allcomers.config import local_time
from allcomers.errors import ConfigError

NAMES: Final = ("combined", "common", "json", "short")
"""The formats with a name: https://httpd.apache.org/docs/2.4/logs.html#accesslog, an object of JSON a line,
and one for a person's eyes."""

COMMON: Final = '%(h)s %(l)s - %(t)s "%(r)s" %(s)s %(b)s'
"""Apache's, without the user, whose password the server has not checked."""

COMBINED: Final = COMMON + ' "%(f)s" "%(a)s"'

# Not strftime's %b: its names change with the locale that an app may set.
_MONTHS: Final = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Entry(Protocol):
    """A response that was sent, or whose client has left.

    when     seconds since the epoch at which the request started to arrive; `stamp` is Format.clock(when)
    peer     the client's address: "127.0.0.1"; "" on a Unix socket
    request_line  ("GET", "/a?b=c", "1.1") for HTTP/1.1; ("", "", "1.1") for one that was not understood,
    line     which then stands here as it was received (Latin-1)
    host     the authority of the request
    status   of the response: 200
    sent     bytes of its body that were sent
    seconds  from the first byte of the request to the last of the response; of these
    wait     from the whole request to the start of the call, app in the app's calls, write after them
    """

    stamp: str
    when: float
    peer: str
    request_line: tuple[str, str, str]
    line: str
    status: int
    sent: int
    seconds: float
    wait: float
    app: float
    write: float

    @property
    def host(self) -> str: ...

    def field(self, name: bytes) -> str:
        """Return the request's header `name`, given in lower case, as str (Latin-1); "" for none."""
        ...

    def answer_field(self, name: str) -> str:
        """Return the header `name`, given in lower case, of the app's response; "" for none."""
        ...


Value: TypeAlias = Callable[[Entry], object]
"""The value of a field for an entry."""


class Layout(NamedTuple):
    """What stands where in a line.

    template  for printf-style formatting
    names     of the fields that are its values, as users give them
    is_json   whether text stands there as JSON
    """

    template: str
    names: tuple[str, ...]
    is_json: bool


class Format(NamedTuple):
    """Functions that format a response as a line.

    line    returns the line with its LF, printable ASCII
    clock   returns the `stamp` of a time, which `line` needs in its entry; the same for all of a second
    timed   whether `line` needs `wait`, `app` and `write`
    layout  of `line`; None for one that has no fields
    """

    line: Callable[[Entry], str]
    clock: Callable[[float], str]
    timed: bool
    layout: Layout | None


def read(text: str, *, coloured: bool = False) -> Format:
    """Return the format with this name, or with these fields. Raises ConfigError, which does not name the option.

    coloured  whether "short" has its status in the colour of its class
    """
    if text == "json":
        return Format(_json_line(), local_time.iso, True, _JSON)
    if text == "short":
        return Format(partial(_short_line, _COLOURS if coloured else {}), _time_of_day, False, None)
    text = {"combined": COMBINED, "common": COMMON}.get(text, text)
    if "%(" not in text:
        raise ConfigError(f"{text!r} is not known; choose one of {', '.join(NAMES)}, or give fields as %(h)s")
    template, fields = _parse(text)
    layout = Layout(template + "\n", tuple([name for name, _ in fields]), False)
    line = partial(_line, layout.template, tuple([value for _, value in fields]))
    return Format(line, _apache_time, not _TIMED.isdisjoint(layout.names), layout)


def _line(template: str, values: tuple[Value, ...], entry: Entry) -> str:
    return template % tuple([value(entry) for value in values])


_COLOURS: Final = {2: "\033[32m", 3: "\033[36m", 4: "\033[33m", 5: "\033[31m"}
"""Of a status, by its class: green, cyan, yellow, red (ECMA-48, 8.3.117)."""


def _short_line(colours: dict[int, str], entry: Entry) -> str:
    """Return 13:55:36 200 GET /a 10,031 bytes in 0.4 ms to 127.0.0.1."""
    method, target, _ = entry.request_line
    colour = colours.get(entry.status // 100, "")
    status = f"{colour}{entry.status}\033[0m" if colour else entry.status
    request = _safe(f"{method} {target}" if method else entry.line)
    size, time = f"{entry.sent:,} byte{'' if entry.sent == 1 else 's'}", f"{entry.seconds * 1e3:,.1f} ms"
    return f"{entry.stamp} {status} {request} {size} in {time} to {_safe(entry.peer)}\n"


# ---------------------------------------------------------------- reading a format

_PIECE = re.compile(r"([^%]++)|%%|%\(([^()]*+)\)([A-Za-z]?+)|%")
_OTHER = re.compile(r"\{([^{}]++)\}([A-Za-z])")


def _parse(text: str) -> tuple[str, list[tuple[str, Value]]]:
    """Return (template for printf-style formatting, the names and functions of the values for it)."""
    if not all(" " <= letter <= "~" or letter == "\t" for letter in text):
        raise ConfigError(f"{text!r} has characters that are not printable ASCII")
    template = ""
    fields: list[tuple[str, Value]] = []
    for piece in _PIECE.finditer(text):
        plain, name, conversion = piece.groups()
        if name is None:
            if piece[0] == "%":
                raise ConfigError(f"{text!r} has a % that starts no field; write %% for a percent sign")
            template += plain or "%%"
            continue
        if conversion not in ("s", "d"):
            raise ConfigError(f"%({name}) in {text!r} must end with s: %({name})s")
        shape, value = _FIELDS.get(name) or ("%s", _other(name))
        template += shape
        if value is not None:
            fields.append((name, value))
    return template, fields


def _other(name: str) -> Value:
    match = _OTHER.fullmatch(name)
    kind = match[2] if match is not None else ""
    if match is not None and kind == "i":
        return partial(_request_field, match[1].lower().encode("ascii"))
    if match is not None and kind == "o":
        return partial(_response_field, match[1].lower())
    if kind == "e":
        # gunicorn has the WSGI environ here. Ours belongs to the app: it is made for the call, and gone with it.
        raise ConfigError(f"%({name})s: the environ is not logged; %({{Name}}i)s is a header of the request")
    raise ConfigError(f"there is no field %({name})s; {_near(name)}")


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, _FIELDS, 3, 0.5) or [known for known in _FIELDS if known.lower() == name.lower()]
    found = near or [*_FIELDS, "{Name}i", "{Name}o"]
    return f"{'perhaps' if near else 'there are'} {', '.join(f'%({known})s' for known in found)}"


# ---------------------------------------------------------------- escapes


def escape(text: str) -> str:
    r"""Return `text` as printable ASCII that ends no field and no line, as Apache does: \" \\ \n and so on, else \xhh.

    A character beyond Latin-1, which no peer can send, is \uhhhh.
    """
    return text.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """A table for str.translate that fills itself, up to 256 entries."""

    def __missing__(self, code: int) -> str:
        if code > 255:
            return f"\\u{code:04x}"
        self[code] = chr(code) if 32 <= code < 127 else f"\\x{code:02x}"
        return self[code]


_ESCAPES = _Escapes({ord(raw): f"\\{letter}" for raw, letter in zip('"\\\b\n\r\t\v', '"\\bnrtv', strict=True)})


def _safe(text: str) -> str:
    """Return `text` escaped, or a dash for none. The four tests are faster than escape()."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text or "-"
    return escape(text)


# ---------------------------------------------------------------- the fields


def _request(entry: Entry) -> str:
    method, target, version = entry.request_line
    return _safe(f"{method} {target} HTTP/{version}" if method else entry.line)


def _request_field(name: bytes, entry: Entry) -> str:
    return _safe(entry.field(name))


def _response_field(name: str, entry: Entry) -> str:
    return _safe(entry.answer_field(name))


def _user(entry: Entry) -> str:
    """Return the user that the client names (Basic, RFC 7617), unchecked; without spaces, which end a field."""
    scheme, _, credentials = entry.field(b"authorization").partition(" ")
    if scheme.lower() != "basic":
        return "-"
    from base64 import b64decode

    try:
        user = b64decode(credentials.strip(" "), validate=True).partition(b":")[0]
    except ValueError:
        return "-"
    return _safe(user.decode("latin-1")).replace(" ", "\\x20")


def _status_and_phrase(entry: Entry) -> str:
    from http import HTTPStatus

    known = entry.status in HTTPStatus.__members__.values()
    return f"{entry.status} {HTTPStatus(entry.status).phrase if known else ''}".rstrip()


def _logging_time(entry: Entry) -> str:
    """Return 2000-10-10 13:55:36,123, the form of the module logging."""
    now, _ = local_time.broken_down(entry.when)
    return f"{local_time.date(now)} {local_time.clock(now)},{int(entry.when * 1000) % 1000:03}"


def _peer(entry: Entry) -> str:
    return _safe(entry.peer)


def _method(entry: Entry) -> str:
    return _safe(entry.request_line[0])


def _version(entry: Entry) -> str:
    return entry.request_line[2]


_FIELDS: Final[dict[str, tuple[str, Value | None]]] = {
    # gunicorn's
    "h": ("%s", _peer),
    "l": ("-", None),
    "u": ("%s", _user),
    "t": ("[%s]", attrgetter("stamp")),
    "r": ("%s", _request),
    "m": ("%s", _method),
    "U": ("%s", lambda entry: _safe(entry.request_line[1].partition("?")[0])),
    "q": ("%s", lambda entry: _safe(entry.request_line[1].partition("?")[2])),
    "H": ("HTTP/%s", _version),
    "s": ("%s", attrgetter("status")),
    "B": ("%s", attrgetter("sent")),
    "b": ("%s", lambda entry: entry.sent or "-"),
    "f": ("%s", partial(_request_field, b"referer")),
    "a": ("%s", partial(_request_field, b"user-agent")),
    "T": ("%d", attrgetter("seconds")),
    "M": ("%d", lambda entry: entry.seconds * 1e3),
    "D": ("%d", lambda entry: entry.seconds * 1e6),
    "L": ("%.6f", attrgetter("seconds")),
    "p": ("<%s>", lambda entry: os.getpid()),
    # uvicorn's
    "client_addr": ("%s", _peer),
    "request_line": ("%s", _request),
    "status_code": ("%s", _status_and_phrase),
    "method": ("%s", _method),
    "full_path": ("%s", lambda entry: _safe(entry.request_line[1])),
    "http_version": ("%s", _version),
    "asctime": ("%s", _logging_time),
    "levelname": ("INFO", None),
    "levelprefix": ("INFO:    ", None),
    "process": ("%s", lambda entry: os.getpid()),
    # our own
    "wait": ("%.6f", attrgetter("wait")),
    "app": ("%.6f", attrgetter("app")),
    "write": ("%.6f", attrgetter("write")),
    "host": ("%s", lambda entry: _safe(entry.host)),
}
"""{field: (its place in the template, the value for it or None)}."""

_TIMED: Final = {"wait", "app", "write"}


_JSON_TEMPLATE: Final = (
    '{"time":"%s","peer":%s,REQUEST,"status":%s,"bytes":%s,"seconds":%.6f,"wait":%.6f,"app":%.6f,"write":%.6f,"host":%s,'
    '"referer":%s,"user_agent":%s}\n'
)
_JSON: Final = Layout(
    _JSON_TEMPLATE.replace("REQUEST", '"method":%s,"target":%s,"version":"HTTP/%s"'),
    ("t", "h", "m", "full_path", "H", "s", "B", "L", "wait", "app", "write", "host", "f", "a"),
    True,
)
_JSON_REFUSED: Final = _JSON_TEMPLATE.replace("REQUEST", '"line":%s')
"""Of a request that was not understood."""


def _json_line() -> Callable[[Entry], str]:
    import json

    # PERF: for a str this is a call into C, 0.1 µs; json.dumps of the whole dict takes 5 µs. Both escape all but
    # printable ASCII (ensure_ascii).
    quote = json.JSONEncoder().encode

    def line(entry: Entry) -> str:
        method, target, version = entry.request_line
        request = (quote(method), quote(target), version) if method else (quote(entry.line),)
        return (_JSON.template if method else _JSON_REFUSED) % (
            entry.stamp,
            quote(entry.peer),
            *request,
            entry.status,
            entry.sent,
            entry.seconds,
            entry.wait,
            entry.app,
            entry.write,
            quote(entry.host),
            quote(entry.field(b"referer")),
            quote(entry.field(b"user-agent")),
        )

    return line


# ---------------------------------------------------------------- times


def _time_of_day(when: float) -> str:
    """Return 13:55:36, in the server's time zone."""
    return local_time.clock(local_time.broken_down(when)[0])


def _apache_time(when: float) -> str:
    """Return 10/Oct/2000:13:55:36 -0700, in the server's time zone."""
    now, offset = local_time.broken_down(when)
    day = f"{now.tm_mday:02}/{_MONTHS[now.tm_mon]}/{now.tm_year}"
    return f"{day}:{local_time.clock(now)} {local_time.numeric_zone(offset)}"

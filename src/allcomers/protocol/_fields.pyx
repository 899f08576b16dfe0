# cython: language_level=3, boundscheck=False, wraparound=False
"""The field lines of a request for their readers: split, in a WSGI environ, in an ASGI scope.

They were checked when the head was read (`_head`). The plain Python of `head`, `apps.wsgi.environ` and `apps.asgi.scope`
is the specification. Each function checks its arguments before their use, whoever calls it.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_SetDefault
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr

from allcomers.protocol._bytes cimport Bytes, is_word, lower, trimmed

# ---------------------------------------------------------------- known names, in lower case and in an environ

cdef struct Name:
    PyObject* lower  # bytes
    PyObject* key  # str, in an environ

cdef enum:
    SLOTS = 128  # a power of two, at least twice as many as there are names

cdef Name _names[SLOTS]
cdef list _referenced = []  # keeps the objects alive that _names points to


cdef inline unsigned int _slot(Bytes at, Py_ssize_t size) noexcept:
    """Return the slot of a name of at least one byte; the same for any case."""
    return (<unsigned int>size * 31 + lower(at[0]) * 7 + lower(at[size - 1]) * 3 + lower(at[size >> 1])) % SLOTS


cdef inline Name* _find(Bytes at, Py_ssize_t size) noexcept:
    """Return the known name; NULL for any other."""
    cdef unsigned int slot
    cdef Name* name
    if size == 0:
        return NULL
    slot = _slot(at, size)
    while _names[slot].lower is not NULL:
        name = &_names[slot]
        if is_word(at, size, PyBytes_AS_STRING(<bytes>name.lower), PyBytes_GET_SIZE(<bytes>name.lower)):
            return name
        slot = (slot + 1) % SLOTS
    return NULL


cdef void _know(bytes lower, str key):
    cdef unsigned int slot = _slot(<Bytes>PyBytes_AS_STRING(lower), PyBytes_GET_SIZE(lower))
    while _names[slot].lower is not NULL:
        slot = (slot + 1) % SLOTS
    _referenced.append((lower, key))
    _names[slot].lower = <PyObject*>lower
    _names[slot].key = <PyObject*>key


KNOWN = (
    b"accept accept-charset accept-encoding accept-language authorization cache-control connection content-encoding"
    b" content-length content-type cookie date dnt expect forwarded from host if-match if-modified-since if-none-match"
    b" if-range if-unmodified-since max-forwards origin pragma priority range referer sec-ch-ua sec-ch-ua-mobile"
    b" sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc te traceparent upgrade"
    b" upgrade-insecure-requests user-agent via x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip"
    b" x-request-id x-requested-with"
).split()
"""Names that browsers, tools and proxies send. No object is made for one of these."""

for _name in KNOWN:
    _key = _name.decode("ascii").upper().replace("-", "_")
    _know(_name, sys.intern(_key if _name in (b"content-type", b"content-length") else "HTTP_" + _key))


# ---------------------------------------------------------------- fields, for their readers

cdef struct Line:
    Py_ssize_t name_end
    Py_ssize_t value
    Py_ssize_t value_end
    Py_ssize_t next


cdef inline bint _line(Bytes at, Py_ssize_t begin, Py_ssize_t end, Line* line) noexcept:
    """Find the parts of the field line at `begin`; return False where there is none."""
    cdef Bytes stop
    if begin >= end:
        return False
    stop = <Bytes>memchr(at + begin, c':', end - begin)
    if stop is NULL:
        return False
    line.name_end = stop - at
    line.value = line.name_end + 1
    while line.value < end and (at[line.value] == c' ' or at[line.value] == c'\t'):
        line.value += 1
    stop = <Bytes>memchr(at + line.value, c'\r', end - line.value)
    if stop is NULL:
        return False
    line.value_end = stop - at
    line.next = line.value_end + 2
    return line.next <= end


def split(bytes lines not None):
    """Return the field lines of read_head as pairs: names as sent, values with optional trailing white space."""
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(lines)
    cdef Py_ssize_t here = 0, end = PyBytes_GET_SIZE(lines)
    cdef Line line
    cdef list found = []
    while _line(at, here, end, &line):
        found.append((
            PyBytes_FromStringAndSize(<const char*>at + here, line.name_end - here),
            PyBytes_FromStringAndSize(<const char*>at + line.value, line.value_end - line.value),
        ))
        here = line.next
    return found


cdef bint last_values(bytes lines, Wanted* names, int count, Value* values) noexcept:
    """Find the value of each of so many `names`, without white space around it: for a name that repeats, the last. It
    stands in `lines`. Return whether one repeats."""
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(lines)
    cdef Py_ssize_t here = 0, end = PyBytes_GET_SIZE(lines), size
    cdef Line line
    cdef int place
    cdef bint repeats = False
    for place in range(count):
        values[place].at = NULL
        values[place].size = 0
    while _line(at, here, end, &line):
        size = line.name_end - here
        for place in range(count):
            if size == names[place].size and is_word(at + here, size, names[place].at, size):
                repeats = repeats or values[place].at is not NULL
                values[place].at = at + line.value
                values[place].size = trimmed(at, line.value, line.value_end) - line.value
        here = line.next
    return repeats


def values_of(bytes lines not None, tuple names not None):
    """Return the value of each of `names`, MOST_WANTED at most, given in lower case, without white space around it,
    None for one that is not there; or None where one of them stands more than once."""
    cdef Wanted wanted[MOST_WANTED]
    cdef Value values[MOST_WANTED]
    cdef int place, count = len(names)
    cdef bytes name
    if count > MOST_WANTED:
        raise ValueError("too many names")
    for place in range(count):
        name = <bytes?>names[place]
        wanted[place].at = PyBytes_AS_STRING(name)
        wanted[place].size = PyBytes_GET_SIZE(name)
    if last_values(lines, wanted, count, values):
        return None
    return tuple([
        None if values[place].at is NULL else PyBytes_FromStringAndSize(<const char*>values[place].at, values[place].size)
        for place in range(count)
    ])


cdef inline bytes _lowered(Bytes at, Py_ssize_t size):
    cdef Py_ssize_t i
    cdef bytes made
    cdef unsigned char* to
    if size == 0:
        return b""
    made = PyBytes_FromStringAndSize(NULL, size)
    to = <unsigned char*>PyBytes_AS_STRING(made)
    for i in range(size):
        to[i] = lower(at[i])
    return made


cpdef list scope_headers(bytes lines):
    """Return the field lines as ASGI has them: names in lower case, values without white space around them."""
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(lines)
    cdef Py_ssize_t here = 0, end = PyBytes_GET_SIZE(lines), stop
    cdef Line line
    cdef Name* known
    cdef bytes name
    cdef list found = []
    while _line(at, here, end, &line):
        known = _find(at + here, line.name_end - here)
        name = _lowered(at + here, line.name_end - here) if known is NULL else <bytes>known.lower
        stop = trimmed(at, line.value, line.value_end)
        found.append((name, PyBytes_FromStringAndSize(<const char*>at + line.value, stop - line.value)))
        here = line.next
    return found


cpdef add_to_environ(dict environ, bytes lines, dict keys, key_of):
    """Add the field lines as WSGI has them; `keys` and `key_of` of apps.wsgi.environ map names unknown here."""
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(lines)
    cdef Py_ssize_t here = 0, end = PyBytes_GET_SIZE(lines), stop, size
    cdef Line line
    cdef Name* known
    cdef PyObject* found
    cdef str key, value
    cdef bytes name
    while _line(at, here, end, &line):
        known = _find(at + here, line.name_end - here)
        if known is not NULL:
            key = <str>known.key
        else:
            name = PyBytes_FromStringAndSize(<const char*>at + here, line.name_end - here)
            key = keys.get(name)
            if key is None:
                key = key_of(name)
        here = line.next
        if not key:
            continue
        stop = trimmed(at, line.value, line.value_end)
        value = PyUnicode_DecodeLatin1(<const char*>at + line.value, stop - line.value, NULL)
        size = len(environ)
        found = PyDict_SetDefault(environ, key, value)
        if len(environ) == size:  # a repeated field (RFC 9110, 5.3; RFC 6265, 5.4)
            environ[key] = <str?>found + ("; " if key == "HTTP_COOKIE" else ", ") + value

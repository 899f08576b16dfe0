# cython: language_level=3, boundscheck=False, wraparound=False
"""What each HTTP request pays most for, as typed loops over bytes: `leaf` says when it runs.

The plain Python of `head`, `handlers.environ`, `asgi.scope` and `answers` is the specification. Each function here does
the common case of one of theirs, in the same words, and says so; for anything else, what is refused above all, it
answers that it did nothing, and the plain Python goes on as if it had not been asked. So there is one set of refusals.

Every pointer has its end beside it. What a function is given is checked before it is used, whoever calls it.
"""

import sys

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_SetDefault
from cpython.list cimport PyList_AsTuple
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeLatin1
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

ctypedef const unsigned char* Bytes

# ---------------------------------------------------------------- bytes, by what they may be part of

cdef enum:
    TOKEN = 1  # RFC 9110, 5.6.2, but for "_": names that have one are dropped, and that is not done here
    VALUE = 2  # RFC 9110, 5.5: anything but control bytes
    TARGET = 4  # visible ASCII but "#", which no request may send

cdef unsigned char _kinds[256]
cdef unsigned char _lower[256]


cdef void _fill_tables():
    cdef int byte
    for byte in range(256):
        _kinds[byte] = 0
        _lower[byte] = byte + 32 if c'A' <= byte <= c'Z' else byte
        if c'0' <= byte <= c'9' or c'a' <= _lower[byte] <= c'z' or (byte and byte in b"!#$%&'*+-.^`|~"):
            _kinds[byte] |= TOKEN
        if byte == 9 or (byte >= 32 and byte != 127):
            _kinds[byte] |= VALUE
        if 0x21 <= byte <= 0x7e and byte != c'#':
            _kinds[byte] |= TARGET


_fill_tables()


cdef inline Py_ssize_t _value_end(Bytes at, Py_ssize_t begin, Py_ssize_t end) noexcept:
    """Where the value that begins at `begin` ends: at the first byte that none may have, or at `end`.

    Eight bytes at a time while none of them is below 32 or 127; what is found there is looked at by itself.
    """
    cdef uint64_t eight = 0, low, delete
    while end - begin >= 8:
        memcpy(&eight, at + begin, 8)
        low = (eight - <uint64_t>0x2020202020202020) & ~eight
        delete = eight ^ <uint64_t>0x7f7f7f7f7f7f7f7f
        delete = (delete - <uint64_t>0x0101010101010101) & ~delete
        if (low | delete) & <uint64_t>0x8080808080808080:
            break
        begin += 8
    while begin < end and _kinds[at[begin]] & VALUE:
        begin += 1
    return begin


cdef inline bint _is(Bytes at, Py_ssize_t size, const char* lower, Py_ssize_t expected) noexcept:
    """Is it this word, whatever its case?"""
    cdef Py_ssize_t i
    if size != expected:
        return False
    for i in range(size):
        if _lower[at[i]] != <unsigned char>lower[i]:
            return False
    return True


cdef inline Py_ssize_t _trimmed(Bytes at, Py_ssize_t begin, Py_ssize_t end) noexcept:
    """The end without the blanks before it."""
    while end > begin and (at[end - 1] == c' ' or at[end - 1] == c'\t'):
        end -= 1
    return end


# ---------------------------------------------------------------- a request's head

cdef str _GET = "GET"
cdef str _POST = "POST"


cdef inline str _method(const char* at, Py_ssize_t size):
    if size == 3 and memcmp(at, b"GET", 3) == 0:
        return _GET
    if size == 4 and memcmp(at, b"POST", 4) == 0:
        return _POST
    return PyUnicode_DecodeASCII(at, size, NULL)


cdef struct Span:  # where a value stands; begin is 0 for none
    Py_ssize_t begin
    Py_ssize_t end

cdef struct Head:  # what is found of a head: places in the buffer, and the values that decide something
    Py_ssize_t method_end  # the target begins a space later
    Py_ssize_t target_end
    Py_ssize_t fields
    Py_ssize_t fields_end  # where the empty line begins
    int minor
    Span host
    Span connection
    Span length
    Span coding


cdef bint _request_line(Bytes at, Py_ssize_t end, Head* head) noexcept:
    """False for any but a common one: a target in origin form."""
    cdef Py_ssize_t here = 0
    while here < end and (_kinds[at[here]] & TOKEN or at[here] == c'_'):
        here += 1
    head.method_end = here
    if here == 0 or end - here < 2 or at[here] != c' ' or at[here + 1] != c'/' or _is(at, here, b"connect", 7):
        return False
    here += 1
    while here < end and _kinds[at[here]] & TARGET:
        here += 1
    head.target_end = here
    if end - here < 11 or memcmp(at + here, b" HTTP/1.", 8) != 0 or memcmp(at + here + 9, b"\r\n", 2) != 0:
        return False
    head.minor = at[here + 8] - c'0'
    head.fields = here + 11
    return head.minor == 0 or head.minor == 1


cdef Span* _special(Bytes name, Py_ssize_t size, Head* head) noexcept:
    """Where the value of this field is to be noted; NULL for a field that decides nothing."""
    if size == 4:
        return &head.host if _is(name, size, b"host", 4) else NULL
    if size == 10:
        return &head.connection if _is(name, size, b"connection", 10) else NULL
    if size == 14:
        return &head.length if _is(name, size, b"content-length", 14) else NULL
    if size == 17:
        return &head.coding if _is(name, size, b"transfer-encoding", 17) else NULL
    return NULL


cdef Py_ssize_t _field(Bytes at, Py_ssize_t here, Py_ssize_t end, Head* head) noexcept:
    """Where the line after the one at `here` begins; 0 for a line that is not whole, malformed, or not common."""
    cdef Py_ssize_t name = here, size
    cdef Span* span
    while here < end and _kinds[at[here]] & TOKEN:
        here += 1
    size = here - name
    if size == 0 or here == end or at[here] != c':':
        return 0
    if _is(at + name, size, b"expect", 6) or _is(at + name, size, b"upgrade", 7):
        return 0
    here += 1
    while here < end and (at[here] == c' ' or at[here] == c'\t'):
        here += 1
    span = _special(at + name, size, head)
    if span is not NULL:
        if span.begin:  # it stands twice
            return 0
        span.begin = here
    here = _value_end(at, here, end)
    if span is not NULL:
        span.end = here
    if end - here < 2 or at[here] != c'\r' or at[here + 1] != c'\n':
        return 0
    return here + 2


cdef bint _fields(Bytes at, Py_ssize_t end, Py_ssize_t most, Head* head) noexcept:
    """The lines to the empty one, at most `most`; False where one of them is not for us."""
    cdef Py_ssize_t here = head.fields
    while end - here >= 2:
        if at[here] == c'\r' and at[here + 1] == c'\n':
            head.fields_end = here
            return True
        most -= 1
        if most < 0:
            return False
        here = _field(at, here, end, head)
        if here == 0:
            return False
    return False


cdef int _persists(Bytes at, Head* head) noexcept:
    """As head._persists; -1 where Connection says anything but keep-alive or close."""
    cdef Bytes value = at + head.connection.begin
    cdef Py_ssize_t size
    if head.connection.begin == 0:
        return head.minor
    size = _trimmed(at, head.connection.begin, head.connection.end) - head.connection.begin
    if _is(value, size, b"keep-alive", 10):
        return 1
    return 0 if _is(value, size, b"close", 5) else -1


cdef bint _framing(Bytes at, Head* head, long long* length) noexcept:
    """As head._framing; `length` is -1 where there is none. False for what is refused, or larger than 18 digits."""
    cdef Py_ssize_t size
    length[0] = -1
    if head.coding.begin:
        size = _trimmed(at, head.coding.begin, head.coding.end) - head.coding.begin
        return head.length.begin == 0 and head.minor == 1 and _is(at + head.coding.begin, size, b"chunked", 7)
    if head.length.begin:
        length[0] = _number(at, head.length.begin, _trimmed(at, head.length.begin, head.length.end))
        return length[0] >= 0
    return True


cdef long long _number(Bytes at, Py_ssize_t begin, Py_ssize_t end) noexcept:
    """A decimal number of at most 18 digits; -1 for what is none."""
    cdef long long number = 0
    if begin >= end or end - begin > 18:
        return -1
    while begin < end:
        if not c'0' <= at[begin] <= c'9':
            return -1
        number = number * 10 + (at[begin] - c'0')
        begin += 1
    return number


cdef str _host(Bytes at, Head* head, dict hosts):
    """The authority; None for one that was not checked before, or is missing."""
    if head.host.begin == 0:
        return None if head.minor else ""
    return hosts.get(PyBytes_FromStringAndSize(<const char*>at + head.host.begin, head.host.end - head.host.begin))


def read_head(bytes buffer not None, Py_ssize_t max_head, Py_ssize_t max_headers, head, dict hosts not None):
    """As head.parse_request, of what `buffer` begins with: how many bytes the whole head has, with its empty line.

    0, and nothing of `head` is set, where it is not all here, is to be refused, or is not of the common kind. `hosts`
    are the values of Host that were checked before: others are not looked at here.
    """
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(buffer)
    cdef Py_ssize_t end = min(PyBytes_GET_SIZE(buffer), max_head)
    cdef Head found
    cdef long long length = -1
    cdef int persists
    cdef str host
    memset(&found, 0, sizeof(found))
    if not _request_line(at, end, &found) or not _fields(at, end, max_headers, &found):
        return 0
    persists = _persists(at, &found)
    if persists < 0 or not _framing(at, &found, &length):
        return 0
    host = _host(at, &found, hosts)
    if host is None or (found.host.begin and not host):
        return 0
    head.method = _method(<const char*>at, found.method_end)
    head.target = PyUnicode_DecodeASCII(<const char*>at + found.method_end + 1,
                                        found.target_end - found.method_end - 1, NULL)
    head.minor = found.minor
    head.host = host
    head.persists = persists == 1
    if length >= 0:
        head.length = length
    if found.coding.begin:
        head.chunked = True
    head.lines = PyBytes_FromStringAndSize(<const char*>at + found.fields, found.fields_end - found.fields)
    return found.fields_end + 2


# ---------------------------------------------------------------- names that are known, and what they are elsewhere

cdef struct Name:
    PyObject* lower  # bytes
    PyObject* key  # str, in an environ

cdef enum:
    SLOTS = 128  # a power of two, at least twice as many as there are names

cdef Name _names[SLOTS]
cdef list _held = []  # what _names points to lives as long as this module


cdef inline unsigned int _slot(Bytes at, Py_ssize_t size) noexcept:
    """Where a name of at least one byte would be; the same for any case."""
    return (<unsigned int>size * 31 + _lower[at[0]] * 7 + _lower[at[size - 1]] * 3 + _lower[at[size >> 1]]) % SLOTS


cdef inline Name* _find(Bytes at, Py_ssize_t size) noexcept:
    """NULL for a name that is not known."""
    cdef unsigned int slot
    cdef Name* name
    if size == 0:
        return NULL
    slot = _slot(at, size)
    while _names[slot].lower is not NULL:
        name = &_names[slot]
        if _is(at, size, PyBytes_AS_STRING(<bytes>name.lower), PyBytes_GET_SIZE(<bytes>name.lower)):
            return name
        slot = (slot + 1) % SLOTS
    return NULL


cdef void _know(bytes lower, str key):
    cdef unsigned int slot = _slot(<Bytes>PyBytes_AS_STRING(lower), PyBytes_GET_SIZE(lower))
    while _names[slot].lower is not NULL:
        slot = (slot + 1) % SLOTS
    _held.append((lower, key))
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
"""Names that browsers, tools and proxies send. There is no object made for one of these."""

for _name in KNOWN:
    _key = _name.decode("ascii").upper().replace("-", "_")
    _know(_name, sys.intern(_key if _name in (b"content-type", b"content-length") else "HTTP_" + _key))


# ---------------------------------------------------------------- its fields, for those who read them

cdef struct Line:
    Py_ssize_t name_end
    Py_ssize_t value
    Py_ssize_t value_end
    Py_ssize_t next


cdef inline bint _line(Bytes at, Py_ssize_t begin, Py_ssize_t end, Line* line) noexcept:
    """The field line at `begin`; False where there is none."""
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
    """The field lines that read_head left: names as sent, values with optional trailing white space."""
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


cdef inline bytes _lowered(Bytes at, Py_ssize_t size):
    cdef Py_ssize_t i
    cdef bytes made
    cdef unsigned char* to
    if size == 0:
        return b""
    made = PyBytes_FromStringAndSize(NULL, size)
    to = <unsigned char*>PyBytes_AS_STRING(made)
    for i in range(size):
        to[i] = _lower[at[i]]
    return made


def scope_headers(bytes lines not None):
    """The field lines as ASGI has them: names in lower case, values without white space around them."""
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(lines)
    cdef Py_ssize_t here = 0, end = PyBytes_GET_SIZE(lines), stop
    cdef Line line
    cdef Name* known
    cdef bytes name
    cdef list found = []
    while _line(at, here, end, &line):
        known = _find(at + here, line.name_end - here)
        name = _lowered(at + here, line.name_end - here) if known is NULL else <bytes>known.lower
        stop = _trimmed(at, line.value, line.value_end)
        found.append((name, PyBytes_FromStringAndSize(<const char*>at + line.value, stop - line.value)))
        here = line.next
    return found


def add_to_environ(dict environ not None, bytes lines not None, dict keys not None, key_of):
    """The field lines as WSGI has them; `keys` and `key_of` are of handlers.environ, for names that are not known here."""
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
        stop = _trimmed(at, line.value, line.value_end)
        value = PyUnicode_DecodeLatin1(<const char*>at + line.value, stop - line.value, NULL)
        size = len(environ)
        found = PyDict_SetDefault(environ, key, value)
        if len(environ) == size:  # it stood there already (RFC 9110, 5.3; RFC 6265, 5.4)
            environ[key] = <str?>found + ("; " if key == "HTTP_COOKIE" else ", ") + value


# ---------------------------------------------------------------- an answer's head

cdef inline char* _put(char* to, bytes what) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(what)
    memcpy(to, PyBytes_AS_STRING(what), size)
    return to + size


def plan(tuple asked not None, response, size, bint persists, bytes date not None, bytes server not None,
         dict blocks not None, dict status_lines not None):
    """As answers.plan, for a body whose size is known and fields that were encoded before; None for any other."""
    cdef bytes fields, line
    headers = response.headers
    status = response.status
    if type(headers) is not list or type(status) is not int or status == 204 or status == 304 or type(size) is not int or len(asked) != 3:
        return None
    try:
        fields = blocks.get(PyList_AsTuple(headers))
    except TypeError:  # lists cannot be looked up
        return None
    line = status_lines.get(status)
    if fields is None or line is None:
        return None
    cdef bytes connection = b""
    if not persists:
        connection = b"Connection: close\r\n"
    elif asked[2] == 0:
        connection = b"Connection: keep-alive\r\n"
    head = _block(line, fields, date, server, size, connection)
    return head, 0 if asked[0] == "HEAD" else size, False, persists


cdef bytes _block(bytes line, bytes fields, bytes date, bytes server, long long length, bytes connection):
    """The parts of a head, joined, with its Content-Length."""
    cdef char digits[20]
    cdef int first = 20
    if length < 0:
        raise ValueError("a body has no negative size")
    while True:
        first -= 1
        digits[first] = c'0' + <char>(length % 10)
        length //= 10
        if not length:
            break
    cdef bytes name = b"Content-Length: "
    cdef bytes end = b"\r\n"
    cdef Py_ssize_t size = PyBytes_GET_SIZE(line) + PyBytes_GET_SIZE(fields) + PyBytes_GET_SIZE(date)
    size += PyBytes_GET_SIZE(server) + PyBytes_GET_SIZE(name) + 20 - first + PyBytes_GET_SIZE(connection) + 4
    cdef bytes block = PyBytes_FromStringAndSize(NULL, size)
    cdef char* to = PyBytes_AS_STRING(block)
    to = _put(to, line)
    to = _put(to, fields)
    to = _put(to, date)
    to = _put(to, server)
    to = _put(to, name)
    memcpy(to, digits + first, 20 - first)
    to += 20 - first
    to = _put(to, end)
    to = _put(to, connection)
    to = _put(to, end)
    assert to == PyBytes_AS_STRING(block) + size
    return block


# ---------------------------------------------------------------- live figures

cdef enum:  # the slots of stats.py, where they are explained
    PAGE = 512 * 8
    ANSWERED = 9
    CALLS = 18
    APP_TIME = 19
    WAIT_TIME = 20
    TURNS = 23
    BUSY_TIME = 24
    RESPONSE_TIME = 27
    LAG = 48
    LAGS = 32
    TIMES = 80
    BUCKETS = 432


cdef inline uint64_t _nanoseconds(double seconds) noexcept:
    return <uint64_t>(seconds * 1e9) if 0 < seconds < 1e9 else 0


cdef inline int _bits(uint64_t value) noexcept:
    """How many bits it takes: bit_length()."""
    cdef int count = 0
    while value:
        value >>= 1
        count += 1
    return count


cdef inline int _bucket(uint64_t time) noexcept:
    cdef uint64_t value = time >> 6
    cdef int exponent = _bits(value) - 5
    if exponent <= 0:
        return <int>value
    return min(BUCKETS - 1, 16 * exponent + <int>(value >> exponent))


cdef class Page:
    """As stats.PlainPage. `at` is the row, for who counts from C."""

    cdef object _cells
    cdef Py_buffer _view
    cdef uint64_t* at

    def __cinit__(self):
        self.at = NULL

    def __init__(self, cells=None):
        self.cells = memoryview(bytearray(PAGE)).cast("Q") if cells is None else cells

    def __dealloc__(self):
        if self.at is not NULL:
            PyBuffer_Release(&self._view)

    @property
    def cells(self):
        return self._cells

    @cells.setter
    def cells(self, cells):
        cdef Py_buffer view
        PyObject_GetBuffer(cells, &view, PyBUF_WRITABLE)
        if view.len < PAGE:
            PyBuffer_Release(&view)
            raise ValueError("a row has 512 numbers of 8 bytes")
        if self.at is not NULL:
            PyBuffer_Release(&self._view)
        self._cells = cells
        self._view = view
        self.at = <uint64_t*>view.buf

    @property
    def answers(self):
        cdef uint64_t count = 0
        cdef int at
        for at in range(ANSWERED, ANSWERED + 6):
            count += self.at[at]
        return count

    def add(self, unsigned int slot, uint64_t count=1):
        if slot >= LAG:
            raise IndexError("no slot that can be added to")
        self.at[slot] += count

    def answered(self, unsigned int status, double seconds):
        cdef uint64_t time = _nanoseconds(seconds)
        self.at[ANSWERED + (status // 100 if status < 600 else 0)] += 1
        self.at[RESPONSE_TIME] += time
        self.at[TIMES + _bucket(time)] += 1

    def called(self, double wait, double app, uint64_t count=1):
        self.at[CALLS] += count
        self.at[WAIT_TIME] += _nanoseconds(wait)
        self.at[APP_TIME] += _nanoseconds(app)

    def turned(self, double seconds):
        cdef uint64_t time = _nanoseconds(seconds)
        self.at[TURNS] += 1
        self.at[BUSY_TIME] += time
        self.at[LAG + min(LAGS - 1, _bits(time >> 10))] += 1

# cython: language_level=3, boundscheck=False, wraparound=False
"""The most expensive work for each response, as typed loops: `response_end_compiled` says when it runs.

The plain Python is the specification: `response_end.HttpResponseFraming` of `cut`, `record.Recorder` of `Recorder`. `cut`
does the common case, an HTTP/1.1 response that is here completely; at anything else, and all that is malformed, it stops,
and the plain Python goes on from there. So there is one set of refusals. Every pointer has its end beside it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp

ctypedef const unsigned char* Bytes

# ---------------------------------------------------------------- responses

cdef enum:
    TOKEN = 1  # RFC 9110, 5.6.2
    VALUE = 2  # RFC 9110, 5.5: anything but control bytes
    CLOSES = 1024  # response_end.CLOSES
    MOST_DIGITS = 18

cdef unsigned char _kinds[256]
cdef signed char _hex[256]


cdef void _fill_tables():
    cdef int byte
    for byte in range(256):
        _kinds[byte] = 0
        _hex[byte] = -1
        if (c'0' <= byte <= c'9' or c'A' <= byte <= c'Z' or c'a' <= byte <= c'z'
                or (byte and byte in b"!#$%&'*+-.^_`|~")):
            _kinds[byte] |= TOKEN
        if byte == 9 or (byte >= 32 and byte != 127):
            _kinds[byte] |= VALUE
        if c'0' <= byte <= c'9':
            _hex[byte] = byte - c'0'
        elif c'a' <= (byte | 32) <= c'f':
            _hex[byte] = (byte | 32) - c'a' + 10


_fill_tables()


cdef struct Head:
    int status
    bint closes
    bint has_connection
    bint chunked
    int64_t length  # -1: none given


cdef inline bint _is(Bytes at, Py_ssize_t size, const char* lower, Py_ssize_t expected) noexcept:
    """Return whether the text is this word of letters and hyphens, in any case."""
    cdef Py_ssize_t i
    if size != expected:
        return False
    for i in range(size):
        if (at[i] | 32) != <unsigned char>lower[i] or (at[i] < 64 and at[i] != c'-'):
            return False
    return True


cdef Py_ssize_t _status_line(Bytes at, Py_ssize_t here, Py_ssize_t end, Head* head) noexcept:
    """Return where the next line begins; 0 if this line is not a common one."""
    if end - here < 14 or memcmp(at + here, b"HTTP/1.1 ", 9) != 0:
        return 0
    here += 9
    if not (c'2' <= at[here] <= c'5' and c'0' <= at[here + 1] <= c'9' and c'0' <= at[here + 2] <= c'9'):
        return 0
    head.status = 100 * (at[here] - c'0') + 10 * (at[here + 1] - c'0') + at[here + 2] - c'0'
    here += 3
    if at[here] == c' ':
        here += 1
        while here < end and _kinds[at[here]] & VALUE:
            here += 1
    if end - here < 2 or at[here] != c'\r' or at[here + 1] != c'\n':
        return 0
    return here + 2


cdef bint _read_field(Bytes at, Py_ssize_t name, Py_ssize_t size, Py_ssize_t value, Py_ssize_t end, Head* head) noexcept:
    """Read a field that decides on framing; return False if its value is not a common one."""
    cdef Py_ssize_t i
    while end > value and (at[end - 1] == c' ' or at[end - 1] == c'\t'):
        end -= 1
    if _is(at + name, size, b"content-length", 14):
        if head.length >= 0 or head.chunked or not 0 < end - value <= MOST_DIGITS:
            return False
        head.length = 0
        for i in range(value, end):
            if not c'0' <= at[i] <= c'9':
                return False
            head.length = 10 * head.length + at[i] - c'0'
        return True
    if _is(at + name, size, b"transfer-encoding", 17):
        if head.length >= 0 or head.chunked or not _is(at + value, end - value, b"chunked", 7):
            return False
        head.chunked = True
        return True
    if _is(at + name, size, b"connection", 10):
        if head.has_connection:
            return False
        head.has_connection = True
        head.closes = _is(at + value, end - value, b"close", 5)
        return head.closes or _is(at + value, end - value, b"keep-alive", 10)
    return not (_is(at + name, size, b"host", 4) or _is(at + name, size, b"expect", 6))


cdef Py_ssize_t _head(Bytes at, Py_ssize_t here, Py_ssize_t end, int most, Head* head) noexcept:
    """Return where the body begins; 0 if the head is incomplete, malformed or not common."""
    cdef Py_ssize_t name, size, value
    here = _status_line(at, here, end, head)
    if here == 0:
        return 0
    while end - here >= 2:
        if at[here] == c'\r' and at[here + 1] == c'\n':
            return here + 2
        most -= 1
        if most < 0:
            return 0
        name = here
        while here < end and _kinds[at[here]] & TOKEN:
            here += 1
        size = here - name
        if size == 0 or here == end or at[here] != c':':
            return 0
        here += 1
        while here < end and (at[here] == c' ' or at[here] == c'\t'):
            here += 1
        value = here
        while here < end and _kinds[at[here]] & VALUE:
            here += 1
        if end - here < 2 or at[here] != c'\r' or at[here + 1] != c'\n':
            return 0
        if not _read_field(at, name, size, value, here, head):
            return 0
        here += 2
    return 0


cdef Py_ssize_t _chunks(Bytes at, Py_ssize_t here, Py_ssize_t end) noexcept:
    """Return where a chunked body ends; 0 if it is incomplete, malformed, or has extensions or trailers."""
    cdef Py_ssize_t begin
    cdef uint64_t size
    while True:
        begin = here
        size = 0
        while here < end and _hex[at[here]] >= 0 and here - begin < 16:
            size = (size << 4) + <uint64_t>_hex[at[here]]
            here += 1
        if here == begin or end - here < 4 or at[here] != c'\r' or at[here + 1] != c'\n':
            return 0
        here += 2
        if size > <uint64_t>(end - here):
            return 0
        here += <Py_ssize_t>size
        if end - here < 2 or at[here] != c'\r' or at[here + 1] != c'\n':
            return 0
        here += 2
        if size == 0:
            return here


cdef bint _is_expected(Bytes body, int64_t length, bytes expected, int64_t size):
    if expected:
        return length == PyBytes_GET_SIZE(expected) and memcmp(body, PyBytes_AS_STRING(expected), length) == 0
    return length == size


def cut(bytes data not None, bint bodiless, Py_ssize_t max_head, int max_headers, list found not None, bytes expected,
        int64_t size):
    """Append to `found` the common responses that `data` begins with; return their size in bytes.

    A response is common only if its body is `expected`, unless that is empty, and has `size` bytes, unless that is 0.
    """
    cdef Bytes at = <Bytes>PyBytes_AS_STRING(data)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data), here = 0, after
    cdef Head head
    cdef bint any_body = not expected and not size
    while here < end:
        head.closes = head.has_connection = head.chunked = False
        head.length = -1
        after = _head(at, here, end, max_headers, &head)
        if after == 0 or after - here > max_head:
            break
        if bodiless or head.status == 204 or head.status == 304:
            if not any_body:
                break
        else:
            if head.chunked:
                if not any_body:
                    break
                after = _chunks(at, after, end)
                if after == 0:
                    break
            elif head.length < 0 or head.length > end - after:
                break
            elif not any_body and not _is_expected(at + after, head.length, expected, size):
                break
            else:
                after += head.length
        here = after
        found.append(head.status | CLOSES if head.closes else head.status)
        if head.closes:
            break
    return here


# ---------------------------------------------------------------- the recorder

cdef enum:  # the offsets of record.py, and those of histogram.py
    ANSWERED = 1
    DIFFERENT = 8
    STATUSES = 16
    COARSE = 1016
    COARSE_SHIFT = 5
    RESPONSE = 2072
    SERVICE = 35864
    LATENESS = 69656
    WRONG = 103448
    SIZE = 137240
    DIGITS = 11
    DIFFERS = 2048
    STATUS = 1023

cdef extern from *:
    int __builtin_clzll(unsigned long long) noexcept

cdef int64_t LARGEST = (<int64_t>1 << 42) - 1


cdef inline Py_ssize_t _index(int64_t value) noexcept:
    """Return the bucket of a value, as histogram.index does."""
    cdef int shift
    if value < (1 << DIGITS):
        return <Py_ssize_t>value if value > 0 else 0
    if value > LARGEST:
        value = LARGEST
    shift = 64 - __builtin_clzll(<unsigned long long>value) - DIGITS
    return (<Py_ssize_t>shift << (DIGITS - 1)) + <Py_ssize_t>(value >> shift)


cdef class Recorder:
    """Counts responses, as record.Recorder does."""

    cdef unsigned long long[::1] _counters
    cdef bytes _errors

    def __init__(self, counters, bytes errors not None):
        self._counters = counters
        self._errors = errors
        if len(errors) != 1000:
            raise ValueError("these are not the statuses that are errors")
        if self._counters.shape[0] != SIZE:
            raise ValueError("these are not the counters of a record")

    def answered(self, int64_t due, int64_t sent, int64_t now, int response):
        cdef Py_ssize_t bucket = _index(now - due)
        cdef int status = response & STATUS
        if status >= 1000:
            raise ValueError("not a status")
        self._counters[ANSWERED] += 1
        self._counters[STATUSES + status] += 1
        self._counters[RESPONSE + bucket] += 1
        if PyBytes_AS_STRING(self._errors)[status]:
            self._counters[WRONG + bucket] += 1
        elif response & DIFFERS:
            self._counters[WRONG + bucket] += 1
            self._counters[DIFFERENT] += 1
        self._counters[COARSE + (bucket >> COARSE_SHIFT)] += 1
        self._counters[SERVICE + _index(now - sent)] += 1

    def late(self, int64_t by):
        self._counters[LATENESS + _index(by)] += 1

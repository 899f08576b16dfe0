# cython: language_level=3, boundscheck=False, wraparound=False
"""The head of a request, read in C. The plain Python of `head` is the specification.

Here is the common case, and nothing else: a whole head, in origin form, with a Host that was checked before. For
anything else, every refusal included, take_head() returns 0 without an effect, and the plain Python starts afresh. So
there is one set of refusals.

Repeated field lines are read once: lines that came twice are kept, with all that was made of them, and compared as one
block with those that come next. Most clients send the same lines with each request.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from allcomers.protocol._bytes cimport Bytes, decimal, is_word, lower, trimmed

# ---------------------------------------------------------------- bytes, by the parts of a head that allow them

cdef enum:
    TOKEN = 1  # RFC 9110, 5.6.2, but for "_": names that have one are dropped, which plain Python does
    VALUE = 2  # RFC 9110, 5.5: anything but control bytes
    TARGET = 4  # visible ASCII but "#", which no request may send

cdef enum:
    MOST_METHOD = 64  # as head.MOST_METHOD

cdef unsigned char _kinds[256]


cdef void _fill_tables():
    cdef int byte
    for byte in range(256):
        _kinds[byte] = 0
        if c'0' <= byte <= c'9' or c'a' <= lower(byte) <= c'z' or (byte and byte in b"!#$%&'*+-.^`|~"):
            _kinds[byte] |= TOKEN
        if byte == 9 or (byte >= 32 and byte != 127):
            _kinds[byte] |= VALUE
        if 0x21 <= byte <= 0x7e and byte != c'#':
            _kinds[byte] |= TARGET


_fill_tables()


cdef inline Py_ssize_t _value_end(Bytes at, Py_ssize_t begin, Py_ssize_t end) noexcept:
    """Return the end of the value at `begin`: the first byte that no value may have, or `end`.

    Eight bytes at a time while none of them is below 32 or 127; from there on, one by one.
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


# ---------------------------------------------------------------- a request's head

cdef str _GET = "GET"
cdef str _POST = "POST"


cdef inline str _method(const char* at, Py_ssize_t size):
    if size == 3 and memcmp(at, b"GET", 3) == 0:
        return _GET
    if size == 4 and memcmp(at, b"POST", 4) == 0:
        return _POST
    return PyUnicode_DecodeASCII(at, size, NULL)


cdef struct Span:  # the place of a value; begin is 0 for none
    Py_ssize_t begin
    Py_ssize_t end

cdef struct Found:  # places in the buffer of the parts that decide something
    Py_ssize_t method_end  # the target starts a space later
    Py_ssize_t target_end
    Py_ssize_t fields
    Py_ssize_t fields_end  # the start of the empty line
    Py_ssize_t count
    int minor
    Span host
    Span connection
    Span length
    Span coding
    Span kind
    Span authorization
    Span expect


cdef bint _request_line(Bytes at, Py_ssize_t end, Found* head) noexcept:
    """Parse the request line; return False for any but a common one: a target in origin form."""
    cdef Py_ssize_t here = 0
    while here < end and (_kinds[at[here]] & TOKEN or at[here] == c'_'):
        here += 1
    head.method_end = here
    if here == 0 or here > MOST_METHOD or end - here < 2 or at[here] != c' ' or at[here + 1] != c'/' or is_word(at, here, b"connect", 7):
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


cdef Span* _special(Bytes name, Py_ssize_t size, Found* head) noexcept:
    """Return the place for the value of a field that decides something, or may stand once; NULL for any other."""
    if size == 6:
        return &head.expect if is_word(name, size, b"expect", 6) else NULL
    if size == 4:
        return &head.host if is_word(name, size, b"host", 4) else NULL
    if size == 10:
        return &head.connection if is_word(name, size, b"connection", 10) else NULL
    if size == 12:
        return &head.kind if is_word(name, size, b"content-type", 12) else NULL
    if size == 13:
        return &head.authorization if is_word(name, size, b"authorization", 13) else NULL
    if size == 14:
        return &head.length if is_word(name, size, b"content-length", 14) else NULL
    if size == 17:
        return &head.coding if is_word(name, size, b"transfer-encoding", 17) else NULL
    return NULL


cdef Py_ssize_t _field(Bytes at, Py_ssize_t here, Py_ssize_t end, Found* head) noexcept:
    """Parse the line at `here`; return the start of the next one, 0 for a partial, malformed or uncommon line."""
    cdef Py_ssize_t name = here, size
    cdef Span* span
    while here < end and _kinds[at[here]] & TOKEN:
        here += 1
    size = here - name
    if size == 0 or here == end or at[here] != c':':
        return 0
    if is_word(at + name, size, b"upgrade", 7):
        return 0
    here += 1
    while here < end and (at[here] == c' ' or at[here] == c'\t'):
        here += 1
    span = _special(at + name, size, head)
    if span is not NULL:
        if span.begin:  # a doubled field
            return 0
        span.begin = here
    here = _value_end(at, here, end)
    if span is not NULL:
        span.end = here
    if end - here < 2 or at[here] != c'\r' or at[here + 1] != c'\n':
        return 0
    return here + 2


cdef bint _fields(Bytes at, Py_ssize_t end, Py_ssize_t most, Found* head) noexcept:
    """Parse the lines to the empty one, at most `most`; return False where one of them is uncommon."""
    cdef Py_ssize_t here = head.fields
    while end - here >= 2:
        if at[here] == c'\r' and at[here + 1] == c'\n':
            head.fields_end = here
            return True
        if head.count == most:
            return False
        head.count += 1
        here = _field(at, here, end, head)
        if here == 0:
            return False
    return False


cdef int _persists(Bytes at, Found* head) noexcept:
    """Return the result of head._persists; -1 for any Connection but keep-alive or close."""
    cdef Bytes value = at + head.connection.begin
    cdef Py_ssize_t size
    if head.connection.begin == 0:
        return head.minor
    size = trimmed(at, head.connection.begin, head.connection.end) - head.connection.begin
    if is_word(value, size, b"keep-alive", 10):
        return 1
    return 0 if is_word(value, size, b"close", 5) else -1


cdef bint _framing(Bytes at, Found* head, long long* length) noexcept:
    """Set `length` as head._framing, -1 for none. Return False for a refusal, or for more than 18 digits."""
    cdef Py_ssize_t size
    length[0] = -1
    if head.coding.begin:
        size = trimmed(at, head.coding.begin, head.coding.end) - head.coding.begin
        return head.length.begin == 0 and head.minor == 1 and is_word(at + head.coding.begin, size, b"chunked", 7)
    if head.length.begin:
        length[0] = decimal(at, head.length.begin, trimmed(at, head.length.begin, head.length.end))
        return length[0] >= 0
    return True


cdef int _expects(Bytes at, Found* head) noexcept:
    """Return the result of head._expects; -1 for a refusal."""
    cdef Py_ssize_t size
    if head.expect.begin == 0:
        return 0
    size = trimmed(at, head.expect.begin, head.expect.end) - head.expect.begin
    return head.minor if is_word(at + head.expect.begin, size, b"100-continue", 12) else -1


cdef str _host(Bytes at, Found* head, dict hosts):
    """Return the authority; None for one that was not checked before, or is missing."""
    cdef str host
    if head.host.begin == 0:
        return None if head.minor else ""
    host = hosts.get(PyBytes_FromStringAndSize(<const char*>at + head.host.begin, head.host.end - head.host.begin))
    return host or None


# ---------------------------------------------------------------- field lines, and earlier ones

cdef class FieldLines:
    """The field lines of a head, and the objects made of them. None of it ever changes: readers get copies.

    kept      True if these lines are kept for further requests
    environ   a WSGI environ with these fields and those of `template`; None until its first use
    headers   those of an ASGI scope; None until their first use
    origin    the client's, as `reader`, the trusted proxies, has it of these fields (forwarded.Proxies.origin)
    logged    the values in `lines` that `log` wants, a LogLine
    """


cdef FieldLines _read(Bytes at, Py_ssize_t end, Py_ssize_t most, Found* found, dict hosts):
    """Read the field lines; return None where they are partial, to be refused, or uncommon."""
    cdef FieldLines made
    cdef long long length = -1
    cdef int persists, expects
    cdef str host
    if not _fields(at, end, most, found):
        return None
    persists, expects = _persists(at, found), _expects(at, found)
    if persists < 0 or expects < 0 or not _framing(at, found, &length):
        return None
    host = _host(at, found, hosts)
    if host is None:
        return None
    made = FieldLines.__new__(FieldLines)
    made.lines = PyBytes_FromStringAndSize(<const char*>at + found.fields, found.fields_end - found.fields)
    made.count = found.count
    made.minor = found.minor
    made.host = host
    made.persists = persists == 1
    made.expects = expects == 1
    made.chunked = found.coding.begin != 0
    made.length = length
    return made


cdef enum:
    PLACES = 512  # a power of two
    LONGEST = 2048  # bytes of field lines that are kept: a megabyte in all, beside the objects made of them

cdef list _kept = [None] * PLACES
cdef FieldLines _last = None  # those that were found there last
cdef uint64_t _seen[PLACES]
memset(_seen, 0, sizeof(_seen))


cdef inline uint64_t _hash(Bytes at, Py_ssize_t size) noexcept:
    """Return a hash of field lines, never 0. A client that forces collisions only has its lines read anew each time."""
    cdef uint64_t eight = 0, first = <uint64_t>size * <uint64_t>0x9e3779b97f4a7c15, second = first
    while size >= 16:
        memcpy(&eight, at, 8)
        first = (first ^ eight) * <uint64_t>0xff51afd7ed558ccd
        first ^= first >> 32
        memcpy(&eight, at + 8, 8)
        second = (second ^ eight) * <uint64_t>0xc4ceb9fe1a85ec53
        second ^= second >> 32
        at += 16
        size -= 16
    while size > 0:
        first = (first ^ at[0]) * <uint64_t>0xff51afd7ed558ccd
        at += 1
        size -= 1
    first ^= second * <uint64_t>0x9e3779b97f4a7c15
    return (first ^ (first >> 29)) | 1


cdef inline Bytes _last_end(Bytes at, Py_ssize_t size) noexcept:
    """Return the CRLF before the empty line; NULL where that is not here, or a bare CR before it.

    PERF: a sixth of the instructions of memmem(3), which are 2,200 for a browser's head (bench instructions).
    """
    cdef Bytes end = at + size
    while True:
        at = <Bytes>memchr(at, c'\r', end - at)
        if at is NULL or end - at < 4 or at[1] != c'\n':
            return NULL
        if at[2] == c'\r' and at[3] == c'\n':
            return at
        at += 2


cdef FieldLines _lines(Bytes at, Py_ssize_t end, Py_ssize_t most, Found* found, dict hosts):
    """Return the field lines from found.fields on, read now or before; None as _read."""
    global _last
    cdef FieldLines lines = _last
    cdef Py_ssize_t size
    cdef uint64_t number
    if lines is not None and _begins(lines, at + found.fields, end - found.fields) and lines.minor == found.minor and lines.count <= most:
        found.fields_end = found.fields + PyBytes_GET_SIZE(lines.lines)
        return lines
    cdef Bytes stop = _last_end(at + found.fields - 2, end - found.fields + 2)
    if stop is NULL:
        return None
    size = stop + 2 - (at + found.fields)
    if size > LONGEST:
        return _read(at, end, most, found, hosts)
    number = _hash(at + found.fields, size)
    lines = <FieldLines>_kept[number % PLACES]
    if lines is not None and _is_same(lines, at + found.fields, size) and lines.minor == found.minor and lines.count <= most:
        found.fields_end = found.fields + size
        _last = lines
        return lines
    lines = _read(at, end, most, found, hosts)
    if lines is not None:
        if _seen[number % PLACES] == number:
            _kept[number % PLACES] = lines
            lines.kept = True
        _seen[number % PLACES] = number
    return lines


cdef inline bint _is_same(FieldLines lines, Bytes at, Py_ssize_t size) noexcept:
    return PyBytes_GET_SIZE(lines.lines) == size and memcmp(PyBytes_AS_STRING(lines.lines), at, size) == 0


cdef inline bint _begins(FieldLines lines, Bytes at, Py_ssize_t left) noexcept:
    """Return whether these bytes begin with `lines` and the empty line."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(lines.lines)
    return left >= size + 2 and memcmp(PyBytes_AS_STRING(lines.lines), at, size) == 0 and at[size] == c'\r' and at[size + 1] == c'\n'


# ---------------------------------------------------------------- the head

cdef class Responder:
    """The base of compiled handlers (message.Handler), which other compiled parts call without the interpreter."""

    cdef object respond(self, Head request):
        """Return the response to `request`."""
        raise NotImplementedError


cdef class Starter:
    """The same for what starts async calls (endpoint.Begin)."""

    cdef object start(self, Head request, asker):
        """Start the call of `request`."""
        raise NotImplementedError


cdef class Head:
    """The slots of `head.RequestHead`, and the origin of a request (`message.Request`), in a C struct.

    minor  the version as a number: 0 or 1 of HTTP/1.0 and 1.1, MINOR_OF_2 of HTTP/2
    """

    @property
    def version(self):
        return version_of(self.minor)

    @version.setter
    def version(self, str version not None):
        self.minor = minor_of(version)


cdef Py_ssize_t take_head(Bytes at, Py_ssize_t size, Py_ssize_t max_head, Py_ssize_t max_headers, Head head,
                          dict hosts) except -1:
    """Fill `head` as head.parse_request, from the bytes at `at`; return the size of the whole head with its empty line.

    Return 0, with nothing of `head` set, where it is partial, to be refused, or uncommon. `hosts` are the values of Host
    that were checked before: any other is uncommon.
    """
    cdef Py_ssize_t end = min(size, max_head)
    cdef Found found
    cdef FieldLines lines
    memset(&found, 0, sizeof(found))
    if not _request_line(at, end, &found):
        return 0
    lines = _lines(at, end, max_headers, &found, hosts)
    if lines is None:
        return 0
    head.method = _method(<const char*>at, found.method_end)
    head.target = PyUnicode_DecodeASCII(<const char*>at + found.method_end + 1,
                                        found.target_end - found.method_end - 1, NULL)
    head.minor = found.minor
    head.host = lines.host
    head.persists = lines.persists
    head.chunked = lines.chunked
    head.expects = lines.expects
    if lines.length >= 0:
        head.length = lines.length
    head.lines = lines.lines
    head.read = lines
    return found.fields_end + 2


def read_head(bytes buffer not None, Py_ssize_t max_head, Py_ssize_t max_headers, Head head not None,
              dict hosts not None):
    """Call take_head(), for Python."""
    return take_head(<Bytes>PyBytes_AS_STRING(buffer), PyBytes_GET_SIZE(buffer), max_head, max_headers, head, hosts)

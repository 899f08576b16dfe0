# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A line of the access log, in C. The plain Python of `config.log_format` is the specification.

Common is a record of a request whose head the leaf has read, and whose text is printable ASCII that needs no escape. For
any other, the plain Python makes the line.
"""

import re

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from allcomers.protocol._bytes cimport Bytes, trimmed
from allcomers.protocol._fields cimport MOST_WANTED, Value, Wanted, last_values
from allcomers.protocol._head cimport FieldLines, Head
from allcomers.protocol._raw cimport PyUnicode_1BYTE_DATA, PyUnicode_GET_LENGTH, PyUnicode_IS_ASCII
from allcomers.protocol._response cimport put_decimal

cdef extern from "<stdio.h>" nogil:
    int snprintf(char*, size_t, const char*, ...)

cdef extern from "<unistd.h>" nogil:
    Py_ssize_t write(int, const void*, size_t)


cdef tuple _NOTHING = ()


cdef class RecordSlots:
    """The slots of `log_record.AccessRecord`."""

    def __init__(self, head, tuple request_line not None, status, long long sent, double started, headers=_NOTHING, close=None):
        self.fill(head, request_line, status, sent, started, headers, close)

    cdef void fill(self, head, tuple request_line, status, long long sent, double started, headers, close) noexcept:
        self.head = head
        self.request_line = request_line
        self.status = status
        self.sent = sent
        self.started = started
        self.headers = headers
        self.close = close


cdef class Finisher:
    """Finishes records, called as `log_record.finisher` has it, with the log and the clock of `endpoint`; `lost` reports
    the error that has lost a line."""

    def __init__(self, *, endpoint not None, log not None, wall not None, lost not None):
        self._endpoint = endpoint
        self._log = log
        self._wall = wall
        self._lost = lost

    def __call__(self, records, str peer not None, double now):
        for record in records:
            self.finish_one(<RecordSlots?>record, peer, now)

    cdef int finish_one(self, RecordSlots record, str peer, double now) except -1:
        try:
            if record.close is None and finish(record, self._log, self._wall, now):
                return 0
        except Exception as error:
            self._lost(error)
            return 0
        record.finish(self._endpoint, peer, now)
        return 0


cpdef bint finish(RecordSlots record, log, wall, double now) except -1:
    """Write the line of a response that has nothing open, as `AccessRecord._write` does. Return False where that is
    not common."""
    cdef Head head
    cdef object times
    if record is None or not isinstance(record.head, Head):
        return False
    head = <Head>record.head
    record.seconds = now - record.started
    record.when = <double>wall() - record.seconds
    record.peer = head.peer
    record.line = record.stamp = ""
    record.wait = record.app = record.write = 0.0
    times = head.times
    if times is not None:
        record.wait, record.app = times.wait, times.app
        record.write = max(0.0, now - <double>times.due - record.wait - record.app)
    if not isinstance(log, LogSlots) or not (<LogSlots>log).put(record):
        log.log(record)
    return True


cdef enum:
    MOST = 4096  # bytes of a line; the plain Python makes a longer one
    NUMBER = 40  # bytes of a number at most
    PARTS = 32  # of a format
    FIELDS = MOST_WANTED  # of a request

cdef enum Kind:
    PEER
    STAMP
    REQUEST
    METHOD
    TARGET
    VERSION
    STATUS
    SENT
    SENT_OR_DASH
    SECONDS
    WHOLE_SECONDS
    MILLISECONDS
    MICROSECONDS
    WAIT
    APP
    WRITE
    HOST
    FIELD

cdef dict _KINDS = {
    "h": PEER, "client_addr": PEER, "t": STAMP, "r": REQUEST, "request_line": REQUEST, "m": METHOD, "method": METHOD,
    "full_path": TARGET, "H": VERSION, "http_version": VERSION, "s": STATUS, "B": SENT, "b": SENT_OR_DASH, "L": SECONDS,
    "T": WHOLE_SECONDS, "M": MILLISECONDS, "D": MICROSECONDS, "wait": WAIT, "app": APP, "write": WRITE, "host": HOST,
    "f": FIELD, "a": FIELD,
}
cdef dict _NAMES = {"f": b"referer", "a": b"user-agent"}

_VALUE = re.compile(r"%(?:\.6f|s|d)")
_OTHER = re.compile(r"\{([^{}]+)\}i")


cdef class LogLine:
    """Makes the line of an entry, as bytes.

    template, names, is_json  of the format's Layout
    otherwise  maps any entry to its line, as str

    Raises LookupError for a field that is not known here.
    """

    cdef object _otherwise
    cdef list _texts
    cdef tuple _names
    cdef Wanted _wanted[FIELDS]
    cdef int _fields
    cdef Kind _kinds[PARTS]
    cdef int _count
    cdef bint _is_json

    def __init__(self, str template not None, names, bint is_json, otherwise):
        cdef list fields = []
        cdef int at
        self._otherwise = otherwise
        self._is_json = is_json
        self._texts = [text.replace("%%", "%").encode("ascii") for text in _VALUE.split(template)]
        self._count = len(names)
        if self._count > PARTS or len(self._texts) != self._count + 1:
            raise LookupError("not a layout of so many fields")
        for at, name in enumerate(names):
            other = _OTHER.fullmatch(name)
            self._kinds[at] = FIELD if other else _KINDS[name]
            if self._kinds[at] == FIELD:
                fields.append(other[1].lower().encode("ascii") if other else _NAMES[name])
        if len(fields) > FIELDS:
            raise LookupError("too many fields of a request")
        self._names = tuple(fields)
        self._fields = len(fields)
        for at in range(self._fields):
            self._wanted[at].at = PyBytes_AS_STRING(self._names[at])
            self._wanted[at].size = PyBytes_GET_SIZE(self._names[at])

    def __call__(self, entry):
        cdef char line[MOST + NUMBER]
        cdef Py_ssize_t size = 0
        if isinstance(entry, RecordSlots):
            size = self.put(line, <RecordSlots>entry)
        if size == 0:
            return self._otherwise(entry).encode("ascii")
        return PyBytes_FromStringAndSize(line, size)

    cdef Py_ssize_t put(self, char* line, RecordSlots record) except -1:
        """Write the line. Return its size; 0 where it is not common."""
        cdef char* to = line
        cdef char* end = line + MOST
        cdef bytes text
        cdef int at, field = 0
        cdef Value found[FIELDS]
        cdef Value* values = found
        cdef Head head
        cdef tuple request_line = record.request_line
        if not isinstance(record.head, Head) or request_line is None or len(request_line) != 3 or not request_line[0]:
            return 0
        head = <Head>record.head
        if self._fields:
            if head.lines is None:
                return 0
            values = self._values(head, found)
        for at in range(self._count + 1):
            text = <bytes>self._texts[at]
            if PyBytes_GET_SIZE(text) > end - to:
                return 0
            memcpy(to, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            to += PyBytes_GET_SIZE(text)
            if at == self._count:
                break
            if self._kinds[at] == FIELD:
                to = self._put_text(to, end, values[field].at, values[field].size)
                field += 1
            else:
                to = self._put_value(to, end, self._kinds[at], record, head)
            if to is NULL:
                return 0
        return to - line

    cdef Value* _values(self, Head head, Value* found) noexcept:
        """Return the values of the fields that are wanted, which field lines that are kept have beside them."""
        cdef FieldLines lines = head.read
        if lines is None or not lines.kept or lines.lines is not head.lines:
            last_values(head.lines, self._wanted, self._fields, found)
            return found
        if lines.log is not self:
            last_values(head.lines, self._wanted, self._fields, lines.logged)
            lines.log = self
        return lines.logged

    cdef char* _put_value(self, char* to, char* end, Kind kind, RecordSlots record, Head head) except? NULL:
        """Write one value. Return the end of it; NULL where it is not common."""
        if end <= to:
            return NULL
        if kind == PEER:
            return self._put_str(to, end, record.peer)
        elif kind == STAMP:
            return _put_plain(to, end, record.stamp)
        elif kind == REQUEST:
            return self._put_request(to, end, record)
        elif kind == METHOD:
            return self._put_str(to, end, <str?>record.request_line[0])
        elif kind == TARGET:
            return self._put_str(to, end, <str?>record.request_line[1])
        elif kind == VERSION:
            return _put_plain(to, end, <str?>record.request_line[2])
        elif kind == HOST:
            return self._put_str(to, end, head.host)
        elif kind == STATUS:
            return _put_number(to, record.status)
        elif kind == SENT:
            return _put_decimal(to, record.sent)
        elif kind == SENT_OR_DASH:
            return _put_decimal(to, record.sent) if record.sent else _put_literal(to, end, b"-", 1)
        elif kind == WAIT:
            return _put_seconds(to, record.wait)
        elif kind == APP:
            return _put_seconds(to, record.app)
        elif kind == WRITE:
            return _put_seconds(to, record.write)
        elif kind == SECONDS:
            return _put_seconds(to, record.seconds)
        elif not 0 <= record.seconds < 1e9:
            return NULL
        elif kind == WHOLE_SECONDS:
            return put_decimal(to, <long long>record.seconds)
        elif kind == MILLISECONDS:
            return put_decimal(to, <long long>(record.seconds * 1e3))
        return put_decimal(to, <long long>(record.seconds * 1e6))

    cdef char* _put_request(self, char* to, char* end, RecordSlots record) except? NULL:
        """Write the request line: nothing of it is empty."""
        to = _put_plain(to, end, <str?>record.request_line[0])
        to = _put_literal(to, end, b" ", 1)
        to = _put_plain(to, end, <str?>record.request_line[1])
        to = _put_literal(to, end, b" HTTP/", 6)
        return _put_plain(to, end, <str?>record.request_line[2])

    cdef char* _put_str(self, char* to, char* end, str text) except? NULL:
        if text is None or not PyUnicode_IS_ASCII(text):
            return NULL
        return self._put_text(to, end, <Bytes>PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text))

    cdef inline char* _put_text(self, char* to, char* end, Bytes text, Py_ssize_t size) noexcept:
        """Write text of the client, or what stands for none."""
        if self._is_json:
            to = _put_literal(to, end, b'"', 1)
        elif size == 0:
            return _put_literal(to, end, b"-", 1)
        to = _put_safe(to, end, text, size)
        return _put_literal(to, end, b'"', 1) if self._is_json else to


cdef class LogSlots:
    """The slots of `access_log.AccessLog`, and its common line, which goes out whole."""

    cdef bint put(self, RecordSlots record) except -1:
        """Write the line of `record` as log() does. Return False, without an effect, where that is not common."""
        cdef char line[MOST + NUMBER]
        cdef Py_ssize_t size, count
        cdef int fd = self._fd
        if self._cut or type(self._line) is not LogLine or <long long>self._second[0] != <long long>record.when:
            return False
        record.stamp = <str?>self._second[1]
        size = (<LogLine>self._line).put(line, record)
        if size == 0:
            return False
        with nogil:
            count = write(fd, line, size)
        if 0 < count < size:
            self.write(PyBytes_FromStringAndSize(line, size), count)
        return count > 0


cdef inline bint is_safe(Bytes text) noexcept:
    """Return False where one of eight bytes may need an escape: below 32, above 126, a quote or a backslash."""
    cdef uint64_t eight, ones = <uint64_t>0x0101010101010101, high = <uint64_t>0x8080808080808080, quote, slash, delete
    memcpy(&eight, text, 8)
    quote = eight ^ ones * c'"'
    slash = eight ^ ones * c'\\'
    delete = eight ^ ones * 127
    return ((eight - ones * 32) | (quote - ones) | (slash - ones) | (delete - ones) | eight) & high == 0


cdef inline char* _put_safe(char* to, char* end, Bytes text, Py_ssize_t size) noexcept:
    """Write text that needs no escape; return NULL for any other, and where there is no room."""
    cdef Py_ssize_t at = 0
    if to is NULL or size > end - to:
        return NULL
    while size - at >= 8 and is_safe(text + at):
        memcpy(to + at, text + at, 8)
        at += 8
    for at in range(at, size):
        if not 32 <= text[at] <= 126 or text[at] == c'"' or text[at] == c'\\':
            return NULL
        to[at] = <char>text[at]
    return to + size


cdef inline char* _put_literal(char* to, char* end, const char* text, Py_ssize_t size) noexcept:
    if to is NULL or size > end - to:
        return NULL
    memcpy(to, text, size)
    return to + size


cdef inline char* _put_plain(char* to, char* end, str text) noexcept:
    """Write text that needs no quotes."""
    if text is None or not PyUnicode_IS_ASCII(text):
        return NULL
    return _put_safe(to, end, <Bytes>PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text))


cdef inline char* _put_number(char* to, number) except? NULL:
    cdef int overflow = 0
    cdef long long value
    if type(number) is not int:
        return NULL
    value = PyLong_AsLongLongAndOverflow(number, &overflow)
    return NULL if overflow else _put_decimal(to, value)


cdef inline char* _put_decimal(char* to, long long number) noexcept:
    return NULL if number < 0 else put_decimal(to, number)


cdef inline char* _put_seconds(char* to, double seconds) noexcept:
    """Write seconds with six decimals, rounded as printf does."""
    cdef double micros = seconds * 1e6
    cdef long long number
    cdef int place
    if not 0 <= seconds < 1e9:
        return NULL
    number = <long long>(micros + 0.5)
    if micros > 1e12 or not -0.499 < micros - number < 0.499:  # so near to the middle the product may be on its other side
        return to + snprintf(to, NUMBER, b"%.6f", seconds)
    to = put_decimal(to, number // 1000000)
    to[0] = c'.'
    number %= 1000000
    for place in range(6, 0, -1):
        to[place] = <char>(c'0' + number % 10)
        number //= 10
    return to + 7

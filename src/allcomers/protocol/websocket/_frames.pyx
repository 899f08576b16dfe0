# cython: language_level=3, boundscheck=False, wraparound=False
"""WebSocket frames of the common shape, in C (RFC 6455, 5.2). For all others read() returns None, without an effect.

Common is a whole message, ping or pong in one frame that is here to its end. What is wrong with any other, or whether
it is only late, is for the library to say: so there is one set of refusals.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from allcomers.protocol._bytes cimport Bytes

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    void* PyUnicode_DATA(object text)

cdef enum:
    TEXT = 1
    BINARY = 2
    PING = 9
    PONG = 10
    RSV1 = 0x40
    FIN = 0x80
    MASKED = 0x80
    CONTROL_SIZE = 125  # the most of a control frame (RFC 6455, 5.5)
    SHORT = 4096

cdef char _unmasked[SHORT]  # one for all: no other thread runs until it is copied


cdef inline Py_ssize_t _number(Bytes at, int size) noexcept:
    """Return a big-endian number of `size` bytes; -1 for one that is too large."""
    cdef uint64_t number = 0
    cdef int byte
    for byte in range(size):
        number = number << 8 | at[byte]
    return -1 if number >> 62 else <Py_ssize_t>number


cdef inline void _unmask(char* into, Bytes masked, Py_ssize_t size, Bytes key) noexcept:
    """Unmask eight bytes at a time (RFC 6455, 5.3)."""
    cdef uint64_t word, wide
    cdef uint32_t four
    cdef Py_ssize_t at = 0
    memcpy(&four, key, 4)
    wide = <uint64_t>four << 32 | four
    while size - at >= 8:
        memcpy(&word, masked + at, 8)
        word ^= wide
        memcpy(into + at, &word, 8)
        at += 8
    while at < size:
        into[at] = masked[at] ^ key[at & 3]
        at += 1


def read(bytes data not None, Py_ssize_t at, Py_ssize_t most, bint deflates):
    """Return (kind, message, end) of the frame that begins at `at`; None for one that is not common.

    kind      its opcode, and RSV1 (0x40) where the message is compressed: only where `deflates`
    message   a str of a text that is not compressed; else bytes, of at most `most`
    end       where the next one begins
    """
    cdef Bytes raw = <Bytes>PyBytes_AS_STRING(data) + at
    cdef Py_ssize_t left = PyBytes_GET_SIZE(data) - at, size, head = 6
    cdef int kind
    cdef bytes payload
    if left < head or not raw[0] & FIN or not raw[1] & MASKED:
        return None
    kind = raw[0] & ~FIN
    size = raw[1] & ~MASKED
    if kind == PING or kind == PONG:
        if size > CONTROL_SIZE:
            return None
    elif kind == TEXT or kind == BINARY or (deflates and (kind == (RSV1 | TEXT) or kind == (RSV1 | BINARY))):
        if size > CONTROL_SIZE:
            head = 8 if size == 126 else 14
            if left < head:
                return None
            size = _number(raw + 2, <int>head - 6)
            if size < 0:
                return None
        if size > most:
            return None
    else:
        return None
    if left - head < size:
        return None
    if kind == TEXT and size <= SHORT:
        _unmask(_unmasked, raw + head, size, raw + head - 4)
        message = _text(_unmasked, size)
    else:
        payload = PyBytes_FromStringAndSize(NULL, size)
        _unmask(PyBytes_AS_STRING(payload), raw + head, size, raw + head - 4)
        message = _text(PyBytes_AS_STRING(payload), size) if kind == TEXT else payload
    return None if message is None else (kind, message, at + head + size)


def message(bytes data not None, Py_ssize_t most):
    """Return the message of `data` that is one common frame and no more, and not compressed; None for any other."""
    cdef object found
    if PyBytes_GET_SIZE(data) == 0 or <unsigned char>PyBytes_AS_STRING(data)[0] & 15 > BINARY:
        return None
    found = read(data, 0, most, False)
    if found is None or <Py_ssize_t>(<tuple>found)[2] != PyBytes_GET_SIZE(data):
        return None
    return (<tuple>found)[1]


cdef object _text(const char* utf_8, Py_ssize_t size):
    try:
        return PyUnicode_DecodeUTF8(utf_8, size, NULL)
    except UnicodeDecodeError:
        return None


def frame(int kind, message):
    """Return a message, a str or bytes, in a server's frame; `kind` as read() returns it. Raises UnicodeEncodeError."""
    if isinstance(message, str):
        if PyUnicode_IS_COMPACT_ASCII(message):
            return _framed(kind, <const char*>PyUnicode_DATA(message), PyUnicode_GET_LENGTH(message))
        message = PyUnicode_AsUTF8String(message)
    return _framed(kind, PyBytes_AS_STRING(<bytes?>message), PyBytes_GET_SIZE(message))


cdef bytes _framed(int kind, const char* payload, Py_ssize_t size):
    cdef Py_ssize_t head = 2 if size < 126 else 4 if size < 65536 else 10
    cdef bytes framed = PyBytes_FromStringAndSize(NULL, head + size)
    cdef unsigned char* into = <unsigned char*>PyBytes_AS_STRING(framed)
    cdef Py_ssize_t rest = size, at
    into[0] = FIN | kind
    into[1] = size if head == 2 else 126 if head == 4 else 127
    for at in range(head - 1, 1, -1):
        into[at] = rest & 255
        rest >>= 8
    memcpy(into + head, payload, size)
    return framed

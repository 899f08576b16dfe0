# cython: language_level=3, boundscheck=False, wraparound=False
"""Bodies in chunks (RFC 9112, 7.1), in C. The plain Python of `http1.ChunkedBody` is the specification.

Common are chunks that are here whole, without extensions, and a body without trailers. All else, and each fault, is left
to the plain Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

cdef enum:
    DIGITS = 7  # of a chunk's size: more are not common


cdef bytes whole_body(const char* text, Py_ssize_t size, Py_ssize_t most, Py_ssize_t* read):
    """Return a body that is here whole, and set `read` to its size in chunks. Where some of it is missing set `read` to
    0; where it is not common, or has more than `most` bytes, to -1."""
    cdef Py_ssize_t at, total = 0, line, chunk
    cdef int end = _whole_chunks(text, size, most, &at, &total)
    read[0] = -1
    if end < 0:
        return None
    line = _size_line(text + at, size - at, &chunk)
    if line <= 0:
        read[0] = line
        return None
    if chunk:  # which is not here whole
        if total + chunk <= most:
            read[0] = 0
        return None
    at += line
    if at + 2 > size:
        if at == size or text[at] == c'\r':
            read[0] = 0
        return None
    if text[at] != c'\r' or text[at + 1] != c'\n':  # trailers
        return None
    read[0] = at + 2
    return _content(text, total)


def take_chunks(bytes data not None, Py_ssize_t most):
    """Return (the content of the chunks that `data` begins with and that are here whole, at most `most` bytes; their
    end). The chunk that ends the body is none of them, nor is any where something is wrong."""
    cdef const char* text = PyBytes_AS_STRING(data)
    cdef Py_ssize_t end, total = 0
    if most <= 0 or _whole_chunks(text, PyBytes_GET_SIZE(data), most, &end, &total) < 0:
        return b"", 0
    return _content(text, total), end


cdef int _whole_chunks(const char* text, Py_ssize_t size, Py_ssize_t most, Py_ssize_t* at, Py_ssize_t* total) noexcept:
    """Pass the chunks that are here whole, `total` bytes, up to `at`. Return -1 where something is wrong."""
    cdef Py_ssize_t line, chunk
    at[0] = 0
    while True:
        line = _size_line(text + at[0], size - at[0], &chunk)
        if line < 0:
            return -1
        if line == 0 or chunk == 0 or total[0] + chunk > most:
            return 0
        line += at[0]
        if line + chunk < size and text[line + chunk] != c'\r':
            return -1
        if line + chunk + 2 > size:
            return 0
        if text[line + chunk + 1] != c'\n':
            return -1
        total[0] += chunk
        at[0] = line + chunk + 2


cdef bytes _content(const char* text, Py_ssize_t total):
    """Return the content of the first chunks, `total` bytes, which are whole."""
    cdef bytes content = PyBytes_FromStringAndSize(NULL, total)
    cdef char* to = PyBytes_AS_STRING(content)
    cdef Py_ssize_t chunk
    while total:
        text += _size_line(text, DIGITS + 2, &chunk)
        memcpy(to, text, chunk)
        to += chunk
        text += chunk + 2
        total -= chunk
    return content


cdef inline Py_ssize_t _size_line(const char* text, Py_ssize_t size, Py_ssize_t* chunk) noexcept:
    """Read the line of a chunk's size. Return its length, 0 where it is not whole, -1 where it is not common."""
    cdef Py_ssize_t at = 0
    cdef int digit
    chunk[0] = 0
    while at < size and at <= DIGITS:
        digit = _hex_digit(text[at])
        if digit < 0:
            break
        chunk[0] = chunk[0] * 16 + digit
        at += 1
    if at > DIGITS:
        return -1
    if at == size:
        return 0
    if at == 0 or text[at] != c'\r':
        return -1
    if at + 1 == size:
        return 0
    return at + 2 if text[at + 1] == c'\n' else -1


cdef inline int _hex_digit(char digit) noexcept:
    if c'0' <= digit <= c'9':
        return digit - c'0'
    digit |= 32
    return digit - c'a' + 10 if c'a' <= digit <= c'f' else -1

"""The parts of a response that other parts of the compiled leaf use."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy


cdef class Answer:
    cdef public object body
    cdef public object status
    cdef public object headers
    cdef public object trailers
    cdef public object close
    cdef bytes block
    cdef tuple encoded
    cdef bint is_encoded(self) except -1


cdef inline bint is_bare(int status) noexcept:
    """Return True for a status whose responses have no body (encode.BARE)."""
    return status == 204 or status == 205 or status == 304


cdef inline char* put_bytes(char* to, bytes piece) noexcept:
    """Copy `piece`. Return the end of the copy."""
    memcpy(to, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
    return to + PyBytes_GET_SIZE(piece)


cdef inline char* put_decimal(char* to, long long number) noexcept:
    """Write a number that is not negative, in decimal. Return the end of what is written, at most 20 bytes."""
    cdef char digits[20]
    cdef int first = 20
    cdef unsigned long long left = number
    while True:
        first -= 1
        digits[first] = <char>(c'0' + left % 10)
        left //= 10
        if not left:
            break
    memcpy(to, digits + first, 20 - first)
    return to + 20 - first

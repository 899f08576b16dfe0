"""The parts of a request's head that other parts of the compiled leaf use."""

from allcomers.protocol._bytes cimport Bytes
from allcomers.protocol._fields cimport MOST_WANTED, Value


cdef class FieldLines:
    cdef readonly bytes lines
    cdef Py_ssize_t count
    cdef int minor
    cdef str host
    cdef bint persists
    cdef bint expects
    cdef bint chunked
    cdef bint kept
    cdef long long length
    cdef dict environ
    cdef dict template
    cdef list headers
    cdef object reader
    cdef tuple origin
    cdef object log
    cdef Value logged[MOST_WANTED]


cdef class Head:
    cdef public str method
    cdef public str target
    cdef public str host
    cdef int minor
    cdef public object length
    cdef public bint chunked
    cdef public bint persists
    cdef public bint expects
    cdef public bint upgrades
    cdef public bytes lines
    cdef public bytes content
    cdef public str peer
    cdef public int port
    cdef public str scheme
    cdef public tuple server
    cdef public object tls
    cdef public object driver
    cdef public object times
    cdef public double ready_at
    cdef FieldLines read


cdef class Responder:
    cdef object respond(self, Head request)


cdef class Starter:
    cdef object start(self, Head request, asker)


cdef enum:
    MINOR_OF_2 = 2


cdef inline str version_of(int minor):
    """Return a version as requests show it: "1.0", "1.1" or "2"."""
    return "1.1" if minor == 1 else "1.0" if minor == 0 else "2"


cdef inline int minor_of(str version) except -1:
    """Return the number of a version."""
    return 1 if version == "1.1" else 0 if version == "1.0" else MINOR_OF_2


cdef Py_ssize_t take_head(Bytes at, Py_ssize_t size, Py_ssize_t max_head, Py_ssize_t max_headers, Head head,
                          dict hosts) except -1

"""The parts of a request's head that other parts of the compiled leaf use."""

from allcomers.protocol._bytes cimport Bytes


cdef class FieldLines:
    cdef readonly bytes lines
    cdef Py_ssize_t count
    cdef int minor
    cdef str host
    cdef bint persists
    cdef bint chunked
    cdef bint kept
    cdef long long length
    cdef dict environ
    cdef dict template
    cdef list headers


cdef class Head:
    cdef public str method
    cdef public str target
    cdef public str host
    cdef public int minor
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
    cdef public object driver
    cdef public double ready_at
    cdef FieldLines read


cdef Py_ssize_t take_head(Bytes at, Py_ssize_t size, Py_ssize_t max_head, Py_ssize_t max_headers, Head head,
                          dict hosts) except -1

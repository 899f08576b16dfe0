"""The declarations of _serializer.pyx, for other compiled parts."""

from cpython.bytes cimport PyBytes_GET_SIZE

from allcomers.protocol._response cimport Answer, put_bytes

cdef enum:
    SMALL = 16 * 1024  # bytes of a body that is copied behind its head
    MOST_HEAD = 16 * 1024  # of a response's head, with its Date and the rest that is ours
    MOST_FRAME = 20  # bytes of a chunk beside its data
    CHUNKED = -1  # the size of a body that goes in chunks

cdef extern from "<stdio.h>" nogil:
    int sprintf(char*, const char*, ...)


cdef inline char* put_chunk(char* to, bytes piece) noexcept:
    """Write `piece` as encode.chunk_of has it, MOST_FRAME bytes more at most. Return the end of what is written."""
    if PyBytes_GET_SIZE(piece):
        to += sprintf(to, b"%zx\r\n", PyBytes_GET_SIZE(piece))
        to = put_bytes(put_bytes(to, piece), b"\r\n")
    return to


cdef inline char* put_last_chunk(char* to) noexcept:
    """Write the end of a body in chunks. Return the end of what is written."""
    return put_bytes(to, b"0\r\n\r\n")


cdef class Serializer:
    cdef dict _blocks, _lines
    cdef object _encode, _response, _gathered
    cdef object date
    cdef bytes server
    cdef bytes _dated, _stamp, _chunked_stamp
    cdef double _stamped_until

    cdef Py_ssize_t put(self, char* to, str method, int minor, bint persists, object reply, bytes timing, double now) except -1
    cdef Py_ssize_t put_head(self, char* to, int minor, bint persists, Answer answer, Py_ssize_t size, bytes timing, double now) except -1
    cdef Answer answer_of(self, object reply)
    cdef bytes _block(self, Answer answer)

"""The declarations of _serializer.pyx, for other compiled parts."""

from allcomers.protocol._response cimport Answer

cdef enum:
    SMALL = 16 * 1024  # bytes of a body that is copied behind its head
    MOST_HEAD = 16 * 1024  # of a response's head, with its Date and the rest that is ours


cdef class Serializer:
    cdef dict _blocks, _lines
    cdef object _encode, _date, _response, _gathered
    cdef bytes _server
    cdef bytes _stamp, _chunked_stamp
    cdef double _stamped_until

    cdef Py_ssize_t put(self, char* to, str method, int minor, bint persists, object reply, double now) except -1
    cdef Answer answer_of(self, object reply)
    cdef bytes _block(self, Answer answer)

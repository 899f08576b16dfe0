"""The declarations of _streams.pyx, for other compiled parts."""

from allcomers.protocol._bytes cimport Bytes
from allcomers.protocol._head cimport Head
from allcomers.protocol._response cimport Answer
from allcomers.protocol.http2._session cimport SessionSlots


cdef Py_ssize_t take_request(SessionSlots session, dict known, Bytes here, Py_ssize_t left, Head request) except -1


cdef class StreamSerializer:
    cdef object _head, _date, _response, _gathered
    cdef bytes _server, _dated
    cdef double _dated_until
    cdef dict _blocks

    cdef Py_ssize_t put(self, char* to, SessionSlots session, str method, object reply, double now) except -1
    cdef bytes _block(self, Answer answer, object size, double now)

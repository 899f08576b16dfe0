"""The parts of a session that other parts of the compiled leaf use."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from allcomers.protocol._bytes cimport Bytes
from allcomers.protocol._head cimport Head

cdef enum:
    FRAME_SIZE = 16384  # as frames.FRAME_SIZE
    HEAD_SIZE = 9  # as frames.HEAD_SIZE


cdef class TableSlots:
    cdef public dict open
    cdef public long long last


cdef class SessionSlots:
    cdef public TableSlots table
    cdef public dict streams
    cdef public long long send_window, peer_window
    cdef public Py_ssize_t data_frames, lingering


cdef class BlockSlots:
    cdef public Head head
    cdef public object length
    cdef public str protocol


cdef Py_ssize_t take_known(Bytes here, Py_ssize_t left, long long last, dict known, PyObject** head) except -1
cdef char* put_response(char* to, uint32_t stream, bytes block, bytes body) noexcept
cdef bint has_room(SessionSlots session, long long credit, bytes block, bytes body) noexcept
cdef int copy_parts(Head head, Head request) except -1

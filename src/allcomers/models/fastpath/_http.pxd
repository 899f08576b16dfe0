"""The declarations of _http.pyx, for other compiled parts."""

cdef enum:
    RECEIVE = 64 * 1024  # as sockets.RECEIVE: a read that comes short has emptied the socket


cdef class FastState:
    cdef public bint is_idle, readable
    cdef public object conn
    cdef public int fd
    cdef public str peer
    cdef public int port
    cdef public tuple server
    cdef public long count
    cdef public double since
    cdef public double ready_at
    cdef public list noted
    cdef public tuple handed_off
    cdef public bytes held
    cdef public double held_at
    cdef public object intake

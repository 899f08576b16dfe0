"""What other parts of the compiled leaf know of a peer at rest."""

cdef enum:
    RECEIVE = 64 * 1024  # as sockets.RECEIVE: a read that comes short has emptied the socket


cdef class Seat:
    cdef public bint rests, readable
    cdef public object conn
    cdef public int fd
    cdef public str peer
    cdef public int port
    cdef public tuple server
    cdef public long count
    cdef public double since
    cdef public double told
    cdef public list noted
    cdef public tuple taken

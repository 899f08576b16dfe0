"""System calls of the fast paths, on sockets that do not block: none gives up the GIL."""

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int, void*, size_t, int)
    ssize_t send(int, const void*, size_t, int)
    int MSG_NOSIGNAL

cdef extern from "<poll.h>":
    int POLLIN
    int POLLOUT

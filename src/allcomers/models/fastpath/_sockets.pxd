"""System calls of the fast paths, on sockets that do not block: none gives up the GIL."""

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int, void*, size_t, int)
    ssize_t send(int, const void*, size_t, int)
    int MSG_NOSIGNAL

cdef extern from * nogil:
    """
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/socket.h>

    static inline void acknowledge(int fd) {
    #ifdef TCP_QUICKACK
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    #endif
    }
    """
    void acknowledge(int)  # as sockets.acknowledge()

cdef extern from "<poll.h>":
    int POLLIN
    int POLLOUT

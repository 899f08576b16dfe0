# cython: language_level=3
"""accept, recv and send on sockets that do not block, without giving up the GIL: see nonblocking.py."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int, void*, size_t, int)
    ssize_t c_send "send"(int, const void*, size_t, int)
    int MSG_NOSIGNAL

cdef extern from "<errno.h>":
    int errno
    int EAGAIN, EINTR, EWOULDBLOCK

cdef extern from "<unistd.h>":
    int c_close "close"(int)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <arpa/inet.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <sys/socket.h>
    #include <unistd.h>

    typedef union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage room;
    } name_t;

    static int accept_peer(int listener, name_t *from) {
        socklen_t size = sizeof *from;
        from->any.sa_family = AF_UNSPEC;
    #ifdef __linux__
        return accept4(listener, &from->any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    #else
        int fd = accept(listener, &from->any, &size);
        if (fd >= 0 && (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)) {
            close(fd);
            return -1;
        }
        return fd;
    #endif
    }

    static int own_name(int fd, name_t *own) {
        socklen_t size = sizeof *own;
        return getsockname(fd, &own->any, &size);
    }
    """
    ctypedef struct any_name "struct sockaddr":
        int sa_family
    ctypedef struct in_addr "struct in_addr":
        unsigned int s_addr
    ctypedef struct in6_addr "struct in6_addr":
        pass
    ctypedef struct v4_name "struct sockaddr_in":
        in_addr sin_addr
        int sin_port
    ctypedef struct v6_name "struct sockaddr_in6":
        in6_addr sin6_addr
        int sin6_port
    ctypedef struct name_t:
        any_name any
        v4_name v4
        v6_name v6
    int accept_peer(int, name_t*)
    int own_name(int, name_t*)
    int AF_INET, AF_INET6
    const char* inet_ntop(int, const void*, char*, int)
    int ntohs(int)

cdef char _received[64 * 1024]  # one for all: no other thread runs until it is copied

cdef enum:
    MOST_HOSTS = 1024
    MOST_TEXT = 46  # INET6_ADDRSTRLEN

cdef dict _hosts = {}  # addresses of IPv4 and their text: one object for all connections of a peer


cdef tuple _address(const name_t* name):
    """Return (host, port); ("", 0) for a name of another kind, as a Unix socket's."""
    cdef char text[MOST_TEXT]
    cdef object host
    if name.any.sa_family == AF_INET:
        host = _hosts.get(name.v4.sin_addr.s_addr)
        if host is None:
            inet_ntop(AF_INET, &name.v4.sin_addr, text, sizeof(text))
            if len(_hosts) >= MOST_HOSTS:
                _hosts.clear()
            host = _hosts[name.v4.sin_addr.s_addr] = text.decode("ascii")
        return host, ntohs(name.v4.sin_port)
    if name.any.sa_family == AF_INET6:
        inet_ntop(AF_INET6, &name.v6.sin6_addr, text, sizeof(text))
        return text.decode("ascii"), ntohs(name.v6.sin6_port)
    return "", 0


def accept(listener not None):
    cdef name_t name
    cdef int waiting = listener.fileno(), fd = -1
    while True:
        fd = accept_peer(waiting, &name)
        if fd >= 0:
            break
        if errno == EAGAIN or errno == EWOULDBLOCK:
            return None
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
    try:
        return fd, *_address(&name)
    except MemoryError:
        c_close(fd)
        raise


def own_address(int fd):
    cdef name_t name
    if own_name(fd, &name) < 0:
        PyErr_SetFromErrno(OSError)
    return _address(&name)


def recv(int fd, Py_ssize_t size):
    cdef ssize_t count = -1
    size = min(size, <Py_ssize_t>sizeof(_received))
    while True:
        count = c_recv(fd, _received, size, 0)
        if count >= 0:
            return PyBytes_FromStringAndSize(_received, count)
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)


def send(int fd, bytes data not None):
    cdef ssize_t count = -1
    while True:
        count = c_send(fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), MSG_NOSIGNAL)
        if count >= 0:
            return count
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)

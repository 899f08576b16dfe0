# cython: language_level=3
"""recv and send on a socket that does not block, without giving up the GIL: see nonblocking.py."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int, void*, size_t, int)
    ssize_t c_send "send"(int, const void*, size_t, int)
    int MSG_NOSIGNAL

cdef extern from "<errno.h>":
    int errno
    int EINTR

cdef char _received[64 * 1024]  # one for all: no other thread runs until it is copied


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

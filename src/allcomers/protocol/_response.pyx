# cython: language_level=3, boundscheck=False, wraparound=False
"""A response, and its head as bytes. The plain Python of `message.Response` and `response_head` is the specification.

For any response but a common one, whose size is known and whose fields were encoded before, plan() returns None, and
the plain Python goes on.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_AsTuple, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.string cimport memcpy


cdef class Answer:
    """The slots of `message.Response`, in a C struct.

    block    fields encoded already; None where none are
    encoded  those fields: `block` holds for as long as `headers` are the same objects, which plain code may replace
    """

    cdef bint is_encoded(self) except -1:
        """Return True if `block` is the encoding of `headers`."""
        cdef Py_ssize_t at, size
        if self.block is None or type(self.headers) is not list:
            return False
        size = PyTuple_GET_SIZE(self.encoded)
        if PyList_GET_SIZE(self.headers) != size:
            return False
        for at in range(size):
            if PyList_GET_ITEM(self.headers, at) != PyTuple_GET_ITEM(self.encoded, at):
                return False
        return True


def plan(tuple request_line not None, response, size, bint persists, bytes date not None, bytes server not None,
         dict blocks not None, dict status_lines not None):
    """Plan as response_head.plan, for a body of known size and fields that were encoded before; None for any other."""
    cdef bytes fields, line
    headers = response.headers
    status = response.status
    if type(headers) is not list or type(status) is not int or type(size) is not int or len(request_line) != 3:
        return None
    try:
        fields = blocks.get(PyList_AsTuple(headers))
    except TypeError:  # lists have no hash
        return None
    line = status_lines.get(status)
    if fields is None or line is None or is_bare(status):
        return None
    cdef bytes connection = b""
    if not persists:
        connection = b"Connection: close\r\n"
    elif request_line[2] == "1.0":
        connection = b"Connection: keep-alive\r\n"
    head = _block(line, fields, date, server, size, connection)
    return head, 0 if request_line[0] == "HEAD" else size, False, persists


cdef bytes _block(bytes line, bytes fields, bytes date, bytes server, long long length, bytes connection):
    """Join the parts of a head, with its Content-Length."""
    if length < 0:
        raise ValueError("a body has no negative size")
    cdef char digits[20]
    cdef Py_ssize_t count = put_decimal(digits, length) - digits
    cdef bytes name = b"Content-Length: "
    cdef bytes end = b"\r\n"
    cdef Py_ssize_t size = PyBytes_GET_SIZE(line) + PyBytes_GET_SIZE(fields) + PyBytes_GET_SIZE(date)
    size += PyBytes_GET_SIZE(server) + PyBytes_GET_SIZE(name) + count + PyBytes_GET_SIZE(connection) + 4
    cdef bytes block = PyBytes_FromStringAndSize(NULL, size)
    cdef char* to = PyBytes_AS_STRING(block)
    to = put_bytes(to, line)
    to = put_bytes(to, fields)
    to = put_bytes(to, date)
    to = put_bytes(to, server)
    to = put_bytes(to, name)
    memcpy(to, digits, count)
    to += count
    to = put_bytes(to, end)
    to = put_bytes(to, connection)
    to = put_bytes(to, end)
    assert to == PyBytes_AS_STRING(block) + size
    return block

# cython: language_level=3, boundscheck=False, wraparound=False
"""An answer, and its head as bytes. The plain Python of `message.Response` and `answers` is the specification.

For any answer but a common one, whose size is known and whose fields were encoded before, plan() says that it did
nothing, and the plain Python goes on.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_AsTuple
from libc.string cimport memcpy


cdef class Answer:
    """What `message.Response` holds, in the slots of a C struct.

    block   its fields as they were encoded already; None where nobody has
    fields  how many they were: a field that was added since has no place in `block`
    """


def plan(tuple asked not None, response, size, bint persists, bytes date not None, bytes server not None,
         dict blocks not None, dict status_lines not None):
    """As answers.plan, for a body whose size is known and fields that were encoded before; None for any other."""
    cdef bytes fields, line
    headers = response.headers
    status = response.status
    if type(headers) is not list or type(status) is not int or status == 204 or status == 304 or type(size) is not int or len(asked) != 3:
        return None
    try:
        fields = blocks.get(PyList_AsTuple(headers))
    except TypeError:  # lists cannot be looked up
        return None
    line = status_lines.get(status)
    if fields is None or line is None:
        return None
    cdef bytes connection = b""
    if not persists:
        connection = b"Connection: close\r\n"
    elif asked[2] == 0:
        connection = b"Connection: keep-alive\r\n"
    head = _block(line, fields, date, server, size, connection)
    return head, 0 if asked[0] == "HEAD" else size, False, persists


cdef bytes _block(bytes line, bytes fields, bytes date, bytes server, long long length, bytes connection):
    """The parts of a head, joined, with its Content-Length."""
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

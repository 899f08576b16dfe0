# cython: language_level=3, boundscheck=False, wraparound=False
"""A small whole answer in bytes, in C, as `answers.plan` has it; any other is left to that."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_AsTuple, PyList_GET_SIZE
from libc.string cimport memcpy


cdef class Serializer:
    """put() for answers of one server.

    response  the class of answers
    encode    fields to their bytes, and those of them that are the server's to set; `blocks` are some that it has made
    lines     a status to its line
    date      now to the Date field's line, with its CRLF; `server` is what follows it
    """

    def __init__(self, *, response, encode, dict blocks not None, dict lines not None, date, bytes server not None):
        if not issubclass(response, Answer):
            raise TypeError("this class has no slots of ours")
        self._response = response
        self._encode = encode
        self._blocks = blocks
        self._lines = lines
        self._date = date
        self._server = server
        self._stamped_until = 0.0

    cdef Py_ssize_t put(self, char* to, str method, int minor, bint persists, object reply, double now) except -1:
        """Write `reply` to a request of this method and minor version; how many bytes that took, SMALL + MOST_HEAD at
        most. 0 where it is not common."""
        cdef Answer answer
        cdef bytes body, block, line
        cdef Py_ssize_t size
        cdef char* begin = to
        if type(reply) is not self._response:
            return 0
        answer = <Answer>reply
        if type(answer.body) is not bytes or answer.close is not None or type(answer.status) is not int or method == "HEAD":
            return 0
        body = <bytes>answer.body
        size = PyBytes_GET_SIZE(body)
        line = self._lines.get(answer.status)
        block = self._block(answer)
        if size > SMALL or line is None or block is None or answer.status == 204 or answer.status == 304:
            return 0
        if now >= self._stamped_until:
            self._stamp = self._date(now) + self._server + b"Content-Length: "
            self._stamped_until = self._date.until
        if PyBytes_GET_SIZE(line) + PyBytes_GET_SIZE(block) + PyBytes_GET_SIZE(self._stamp) + 60 > MOST_HEAD:
            return 0
        to = _copy(to, line)
        to = _copy(to, block)
        to = _copy(to, self._stamp)
        to = _decimal(to, size)
        if not persists:
            to = _copy(to, b"\r\nConnection: close\r\n\r\n")
        elif minor == 0:
            to = _copy(to, b"\r\nConnection: keep-alive\r\n\r\n")
        else:
            to = _copy(to, b"\r\n\r\n")
        return _copy(to, body) - begin

    cdef bytes _block(self, Answer answer):
        """Its fields, encoded; None where one of them is the server's to set, or cannot be sent."""
        cdef object block, ours
        if type(answer.headers) is not list:
            return None
        if answer.block is not None and answer.fields == PyList_GET_SIZE(answer.headers):
            return answer.block
        try:
            block = self._blocks.get(PyList_AsTuple(answer.headers))
            if block is None:
                block, ours = self._encode(answer.headers)
                if ours is not None:
                    return None
        except Exception:  # what is wrong with them is said by who sends this answer
            return None
        return block


cdef inline char* _copy(char* to, bytes what) noexcept:
    memcpy(to, PyBytes_AS_STRING(what), PyBytes_GET_SIZE(what))
    return to + PyBytes_GET_SIZE(what)


cdef inline char* _decimal(char* to, Py_ssize_t number) noexcept:
    """A number that is not negative."""
    cdef char digits[20]
    cdef int first = 20
    while True:
        first -= 1
        digits[first] = <char>(c'0' + number % 10)
        number //= 10
        if not number:
            break
    memcpy(to, digits + first, 20 - first)
    return to + 20 - first

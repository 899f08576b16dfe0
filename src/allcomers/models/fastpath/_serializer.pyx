# cython: language_level=3, boundscheck=False, wraparound=False
"""A small whole response in bytes, in C, as `response_head.plan` has it; any other is left to that.

One whose pieces were all given before any was sent is a chunk, as `encode.chunk` has it."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_AsTuple

from allcomers.protocol._response cimport is_bare, put_bytes, put_decimal


cdef class Serializer:
    """put() for responses of one server.

    response  the class of responses; `gathered` is that of bodies in pieces whose response has all of them
    encode    maps fields to their bytes, and to those of them that are the server's to set; `blocks` has some of them
    lines     maps a status to its line
    date      maps the time to the Date field's line, with its CRLF; `server` follows it
    """

    def __init__(self, *, response, gathered, encode, dict blocks not None, dict lines not None, date, bytes server not None):
        if not issubclass(response, Answer):
            raise TypeError("this class has no slots of ours")
        self._response = response
        self._gathered = gathered
        self._encode = encode
        self._blocks = blocks
        self._lines = lines
        self.date = date
        self.server = server
        self._stamped_until = 0.0

    cdef Py_ssize_t put(self, char* to, str method, int minor, bint persists, object reply, bytes timing, double now) except -1:
        """Write `reply` to a request of this method and minor version, with the line of a Server-Timing field, b"" for
        none. Return the bytes written, SMALL + MOST_HEAD at most; 0 where it is not common."""
        cdef Answer answer
        cdef bytes body
        cdef Py_ssize_t size, head
        cdef char* start = to
        cdef bint is_chunked = type(reply) is self._gathered
        if is_chunked:
            if minor == 0:  # whose end is the connection's
                return 0
            reply = reply.response
        if type(reply) is not self._response:
            return 0
        answer = <Answer>reply
        if type(answer.body) is not bytes or answer.close is not None or method == "HEAD":
            return 0
        body = <bytes>answer.body
        size = PyBytes_GET_SIZE(body)
        if size > SMALL:
            return 0
        head = self.put_head(to, minor, persists, answer, CHUNKED if is_chunked else size, timing, now)
        if head == 0:
            return 0
        to += head
        if not is_chunked:
            return put_bytes(to, body) - start
        return put_last_chunk(put_chunk(to, body)) - start

    cdef Py_ssize_t put_head(self, char* to, int minor, bint persists, Answer answer, Py_ssize_t size, bytes timing, double now) except -1:
        """Write the head of a response whose body has this size, or is CHUNKED; `timing` as in put(). Return the bytes
        written, MOST_HEAD at most; 0 where it is not common."""
        cdef bytes block, line
        cdef char* start = to
        if type(answer.status) is not int:
            return 0
        line = self._lines.get(answer.status)
        block = self._block(answer)
        if line is None or block is None:
            return 0
        if is_bare(answer.status) and size:
            return 0
        if now >= self._stamped_until:
            self._dated = self.date(now)
            self._stamp = self.server + b"Content-Length: "
            self._chunked_stamp = self.server + b"Transfer-Encoding: chunked\r\n"
            self._stamped_until = self.date.until
        if PyBytes_GET_SIZE(line) + PyBytes_GET_SIZE(block) + PyBytes_GET_SIZE(self._stamp) + PyBytes_GET_SIZE(self._dated) + PyBytes_GET_SIZE(timing) + 90 > MOST_HEAD:
            return 0
        to = put_bytes(to, line)
        to = put_bytes(to, block)
        to = put_bytes(to, self._dated)
        to = put_bytes(to, timing)
        if size == CHUNKED:
            to = put_bytes(to, self._chunked_stamp)
        elif is_bare(answer.status) and answer.status != 205:  # whose length is none, not 0
            to = put_bytes(to, self.server)
        else:
            to = put_bytes(to, self._stamp)
            to = put_decimal(to, size)
            to = put_bytes(to, b"\r\n")
        if not persists:
            to = put_bytes(to, b"Connection: close\r\n\r\n")
        elif minor == 0:
            to = put_bytes(to, b"Connection: keep-alive\r\n\r\n")
        else:
            to = put_bytes(to, b"\r\n")
        return to - start

    cdef Answer answer_of(self, object reply):
        """Return the response of what was put."""
        return <Answer>reply if type(reply) is self._response else <Answer?>reply.response

    cdef bytes _block(self, Answer answer):
        """Return its fields, encoded; None where one of them is the server's to set, or cannot be sent."""
        cdef object block, ours
        if answer.is_encoded():
            return answer.block
        if type(answer.headers) is not list:
            return None
        try:
            block = self._blocks.get(PyList_AsTuple(answer.headers))
            if block is None:
                block, ours = self._encode(answer.headers)
                if ours is not None:
                    return None
        except Exception:  # raised again by the connection, which sends this response
            return None
        return block

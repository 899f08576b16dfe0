# cython: language_level=3, boundscheck=False, wraparound=False
"""The common exchange of HTTP/2, for `_http.pyx`: a request without a body whose header block is known, and a small whole
response in a frame of each type. Anything else is left to the plain Python, without an effect.

The stream of such a request is over when it is answered, so the session only learns that it was there.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.list cimport PyList_AsTuple
from cpython.object cimport PyObject

from allcomers.models.fastpath._serializer cimport MOST_HEAD, SMALL
from allcomers.protocol.http2._session cimport HEAD_SIZE, BlockSlots, copy_parts, has_room, put_response, take_known

from allcomers.connection.http.response_body import ENDLESS

cdef object _ENDLESS = ENDLESS

cdef enum:
    MOST_BLOCKS = 64  # of responses that differ, kept for as long as their date is right


cdef Py_ssize_t take_request(SessionSlots session, dict known, Bytes here, Py_ssize_t left, Head request) except -1:
    """Make `request` of the frame at `here`, of which `left` bytes are there, and note its stream. Return the frame's
    size; 0 where it is not common.

    known  RequestBlocks by their blocks, as the session has them
    """
    cdef PyObject* found
    cdef BlockSlots block
    cdef Py_ssize_t size = take_known(here, left, session.table.last, known, &found)
    if size == 0:
        return 0
    block = <BlockSlots>found
    if block.protocol or block.head.read is None:
        return 0
    session.table.last += 2
    copy_parts(block.head, request)
    return size


cdef class StreamSerializer:
    """put() for responses of one server.

    response, gathered, date, server  as Serializer has them
    head  makes a response's header block (http2.head.head)
    """

    def __init__(self, *, response, gathered, head, date, bytes server not None):
        if not issubclass(response, Answer):
            raise TypeError("this class has no slots of ours")
        self._response = response
        self._gathered = gathered
        self._head = head
        self._date = date
        self._server = server
        self._dated_until = 0.0
        self._blocks = {}

    cdef Py_ssize_t put(self, char* to, SessionSlots session, str method, object reply, double now) except -1:
        """Write `reply` to the request of this method whose stream was noted last, as Session.answer() queues it. Return
        the bytes written, SMALL + MOST_HEAD at most; 0 where it is not common."""
        cdef Answer answer
        cdef bytes body, block
        cdef Py_ssize_t size
        cdef bint is_gathered = type(reply) is self._gathered
        if is_gathered:
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
        block = self._block(answer, None if is_gathered else size, now)
        if block is None or PyBytes_GET_SIZE(block) > MOST_HEAD - 2 * HEAD_SIZE or not has_room(session, 0, block, body):
            return 0
        session.send_window -= size
        session.data_frames += size > 0
        return put_response(to, session.table.last, block, body) - to

    cdef bytes _block(self, Answer answer, object size, double now):
        """Return the header block of a response; None where the size of its body is another, or it cannot be sent."""
        cdef PyObject* found
        cdef tuple key
        if now >= self._dated_until:
            self._dated = self._date(now)
            self._dated_until = self._date.until
            self._blocks.clear()
        if type(answer.status) is not int or type(answer.headers) is not list:
            return None
        key = (answer.encoded if answer.is_encoded() else PyList_AsTuple(answer.headers)), answer.status, size
        try:
            found = PyDict_GetItemWithError(self._blocks, key)
            if found is not NULL:
                return <bytes>found
            block, most = self._head("GET", answer, size, self._dated, self._server)
        except Exception:  # raised again by the connection, which sends this response
            return None
        if most != (_ENDLESS if size is None else size):
            return None
        if len(self._blocks) >= MOST_BLOCKS:
            self._blocks.clear()
        self._blocks[key] = block
        return <bytes?>block

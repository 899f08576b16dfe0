# cython: language_level=3, boundscheck=False, wraparound=False
"""The common exchange of a server's session, in C. The plain Python of `session`, `messages` and `requests` is the
specification.

Here is a request without a body whose header block is known, and a whole response to it in two frames. Each function
leaves anything else to the plain Python, without an effect.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from allcomers.protocol._bytes cimport Bytes
from allcomers.protocol._head cimport MINOR_OF_2, Head
from allcomers.protocol._response cimport put_bytes

cdef enum:
    PRIORITY_SIZE = 5
    DATA = 0
    HEADERS = 1
    END_STREAM = 0x01
    END_HEADERS = 0x04
    PRIORITIZED = 0x20

cdef enum:  # streams.Side
    SIDE_HEAD = 0
    SIDE_ENDED = 2


cdef class TableSlots:
    """The slots of `streams.StreamTable` that are used here."""


cdef class SessionSlots:
    """The slots of `state.SessionState` that are used here."""


cdef class BlockSlots:
    """The slots of `requests.RequestBlock` that are used here."""


cdef class Http2Stream:
    """The slots of `streams.Http2Stream`."""

    cdef public int sending
    cdef public int receiving
    cdef public long long credit
    cdef public long long window
    cdef public long long held
    cdef public long long returned
    cdef public object left

    def __init__(self, int sending, int receiving, long long window, left=None):
        self.sending = sending
        self.receiving = receiving
        self.window = window
        self.left = left


cdef inline uint32_t _number(Bytes at) noexcept:
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


cdef Py_ssize_t take_known(Bytes here, Py_ssize_t left, long long last, dict known, PyObject** head) except -1:
    """Find the request in the frame at `here`, of which `left` bytes are there, behind the stream `last`: a head that is
    known, and no body. Return the frame's size, and set `head` to its RequestBlock, borrowed; 0 for any other frame."""
    cdef Py_ssize_t size, begin = HEAD_SIZE
    cdef uint32_t stream
    cdef bytes block
    cdef PyObject* found
    if left < HEAD_SIZE or last < 0:  # the first stream is an uncommon one
        return 0
    size = <Py_ssize_t>here[0] << 16 | <Py_ssize_t>here[1] << 8 | here[2]
    if here[3] != HEADERS or here[4] & ~PRIORITIZED != (END_HEADERS | END_STREAM) or size > FRAME_SIZE:
        return 0
    stream = _number(here + 5) & 0x7fffffff
    if stream != last + 2 or left - HEAD_SIZE < size:
        return 0
    if here[4] & PRIORITIZED:
        if size < PRIORITY_SIZE or _number(here + HEAD_SIZE) & 0x7fffffff == stream:
            return 0
        begin += PRIORITY_SIZE
    block = PyBytes_FromStringAndSize(<const char*>here + begin, HEAD_SIZE + size - begin)
    found = PyDict_GetItemWithError(known, block)
    if found is NULL or (<BlockSlots?><object>found).length:
        return 0
    head[0] = found
    return HEAD_SIZE + size


def read_requests(bytes data not None, Py_ssize_t at, Py_ssize_t most, dict known not None, SessionSlots session not None,
                  list events not None, type event not None, long long window):
    """Take the requests at `at`, one after another, at most `most`, as messages.on_headers does. Return the place after
    them.

    known   RequestBlocks by their blocks
    event   the class RequestReceived
    window  the bytes of DATA that a new stream takes
    """
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data), size
    cdef Http2Stream opened
    cdef TableSlots table = session.table
    cdef PyObject* head
    cdef object number
    while most > 0 and at >= 0:
        size = take_known(<Bytes>PyBytes_AS_STRING(data) + at, end - at, table.last, known, &head)
        if size == 0:
            break
        table.last += 2
        opened = Http2Stream.__new__(Http2Stream)
        opened.sending = SIDE_HEAD
        opened.receiving = SIDE_ENDED
        opened.window = window
        opened.left = (<BlockSlots>head).length
        number = table.last
        session.streams[number] = opened
        events.append(tuple.__new__(event, (number, <object>head, True)))
        most -= 1
        at += size
    return at


cdef inline char* _put_frame_head(char* to, Py_ssize_t size, unsigned char kind, unsigned char flags,
                                  uint32_t stream) noexcept:
    cdef unsigned char* at = <unsigned char*>to
    at[0] = size >> 16
    at[1] = size >> 8 & 0xff
    at[2] = size & 0xff
    at[3] = kind
    at[4] = flags
    at[5] = stream >> 24
    at[6] = stream >> 16 & 0xff
    at[7] = stream >> 8 & 0xff
    at[8] = stream & 0xff
    return to + HEAD_SIZE


cdef bint has_room(SessionSlots session, long long credit, bytes block, bytes body) noexcept:
    """Return whether a whole response fits into one frame of each type, and into the windows of a stream with this
    `credit`."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
    if size > FRAME_SIZE or PyBytes_GET_SIZE(block) > FRAME_SIZE:
        return False
    return size <= session.send_window and size <= session.peer_window + credit


cdef char* put_response(char* to, uint32_t stream, bytes block, bytes body) noexcept:
    """Write a whole response that has room: 2 * HEAD_SIZE bytes more than both parts at most. Return the end of what is
    written."""
    cdef bint is_bare = PyBytes_GET_SIZE(body) == 0
    to = _put_frame_head(to, PyBytes_GET_SIZE(block), HEADERS, END_HEADERS | (END_STREAM if is_bare else 0), stream)
    to = put_bytes(to, block)
    if is_bare:
        return to
    return put_bytes(_put_frame_head(to, PyBytes_GET_SIZE(body), DATA, END_STREAM, stream), body)


def answer(list queue not None, SessionSlots session not None, stream, bytes block not None, bytes body not None):
    """Queue a whole response, as Session.answer does, and end its stream. Return False, with nothing done, for one
    without a body, that does not fit, or whose request is not whole."""
    cdef PyObject* value = PyDict_GetItemWithError(session.streams, stream)
    cdef Http2Stream found
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
    cdef bytes made
    if value is NULL or not isinstance(<object>value, Http2Stream):
        return False
    found = <Http2Stream>value
    if found.sending != SIDE_HEAD or found.receiving != SIDE_ENDED or found.held:
        return False
    if size == 0 or not has_room(session, found.credit, block, body):
        return False
    made = PyBytes_FromStringAndSize(NULL, 2 * HEAD_SIZE + PyBytes_GET_SIZE(block) + size)
    put_response(PyBytes_AS_STRING(made), stream, block, body)
    queue.append(made)
    session.send_window -= size
    session.data_frames += 1
    del session.streams[stream]
    return True


def copy_head(Head head not None, Head request not None):
    """Give `request` the parts of `head`, as RequestBlock.request does."""
    copy_parts(head, request)


cdef int copy_parts(Head head, Head request) except -1:
    """Give `request` the parts of `head`. Its fields are read again, where they are read."""
    request.method = head.method
    request.target = head.target
    request.host = head.host
    request.minor = MINOR_OF_2
    request.length = head.length
    request.expects = head.expects
    request.persists = True
    request.lines = head.lines
    request.read = head.read
    return 0

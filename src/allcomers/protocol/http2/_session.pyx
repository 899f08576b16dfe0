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

cdef enum:
    HEAD_SIZE = 9
    PRIORITY_SIZE = 5
    FRAME_SIZE = 16384
    DATA = 0
    HEADERS = 1
    END_STREAM = 0x01
    END_HEADERS = 0x04
    PRIORITIZED = 0x20

cdef enum:  # streams.Side
    SIDE_HEAD = 0
    SIDE_ENDED = 2


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


def read_requests(bytes data not None, Py_ssize_t at, Py_ssize_t most, dict known not None, dict streams not None,
                  list events not None, table, type event not None, long long window):
    """Take the requests at `at`, one after another, at most `most`, as messages.on_headers does. Return the place after
    them.

    known   RequestBlocks by their blocks
    event   the class RequestReceived
    window  the bytes of DATA that a new stream takes
    """
    cdef Bytes here
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data), size, begin
    cdef uint32_t last, stream
    cdef Http2Stream opened
    cdef PyObject* head
    cdef bytes block
    cdef object number
    if at < 0 or table.last < 0:  # the first stream is an uncommon one
        return at
    last = table.last
    while most > 0 and end - at >= HEAD_SIZE:
        here = <Bytes>PyBytes_AS_STRING(data) + at
        size = <Py_ssize_t>here[0] << 16 | <Py_ssize_t>here[1] << 8 | here[2]
        if here[3] != HEADERS or here[4] & ~PRIORITIZED != (END_HEADERS | END_STREAM) or size > FRAME_SIZE:
            break
        stream = _number(here + 5) & 0x7fffffff
        if stream != last + 2 or end - at - HEAD_SIZE < size:
            break
        begin = HEAD_SIZE
        if here[4] & PRIORITIZED:
            if size < PRIORITY_SIZE or _number(here + HEAD_SIZE) & 0x7fffffff == stream:
                break
            begin += PRIORITY_SIZE
        block = PyBytes_FromStringAndSize(<const char*>here + begin, HEAD_SIZE + size - begin)
        head = PyDict_GetItemWithError(known, block)
        if head is NULL or (<object>head).length:
            break
        opened = Http2Stream.__new__(Http2Stream)
        opened.sending = SIDE_HEAD
        opened.receiving = SIDE_ENDED
        opened.window = window
        opened.left = (<object>head).length
        number = stream
        streams[number] = opened
        events.append(tuple.__new__(event, (number, <object>head, True)))
        last = stream
        most -= 1
        at += HEAD_SIZE + size
    table.last = last
    return at


cdef inline void _frame_head(unsigned char* at, Py_ssize_t size, unsigned char kind, unsigned char flags,
                             uint32_t stream) noexcept:
    at[0] = size >> 16
    at[1] = size >> 8 & 0xff
    at[2] = size & 0xff
    at[3] = kind
    at[4] = flags
    at[5] = stream >> 24
    at[6] = stream >> 16 & 0xff
    at[7] = stream >> 8 & 0xff
    at[8] = stream & 0xff


def answer(list queue not None, dict streams not None, stream, bytes block not None, bytes body not None,
           long long room, long long peer_window):
    """Queue a whole response, as Session.answer does, and end its stream. Return False, with nothing done, for one
    without a body, that does not fit, or whose request is not whole.

    room         bytes that the peer takes on all streams
    peer_window  its SETTINGS_INITIAL_WINDOW_SIZE
    """
    cdef PyObject* value = PyDict_GetItemWithError(streams, stream)
    cdef Http2Stream found
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body), block_size = PyBytes_GET_SIZE(block)
    cdef bytes made
    cdef unsigned char* at
    cdef uint32_t number
    if value is NULL or not isinstance(<object>value, Http2Stream):
        return False
    found = <Http2Stream>value
    if found.sending != SIDE_HEAD or found.receiving != SIDE_ENDED or found.held:
        return False
    if size == 0 or size > FRAME_SIZE or block_size > FRAME_SIZE or size > room or size > peer_window + found.credit:
        return False
    number = stream
    made = PyBytes_FromStringAndSize(NULL, 2 * HEAD_SIZE + block_size + size)
    at = <unsigned char*>PyBytes_AS_STRING(made)
    _frame_head(at, block_size, HEADERS, END_HEADERS, number)
    memcpy(at + HEAD_SIZE, PyBytes_AS_STRING(block), block_size)
    at += HEAD_SIZE + block_size
    _frame_head(at, size, DATA, END_STREAM, number)
    memcpy(at + HEAD_SIZE, PyBytes_AS_STRING(body), size)
    queue.append(made)
    del streams[stream]
    return True


def copy_head(Head head not None, Head request not None):
    """Give `request` the parts of `head`, as RequestBlock.request does. Its fields are read again, where they are read."""
    request.method = head.method
    request.target = head.target
    request.host = head.host
    request.minor = MINOR_OF_2
    request.length = head.length
    request.expects = head.expects
    request.persists = True
    request.lines = head.lines
    request.read = head.read

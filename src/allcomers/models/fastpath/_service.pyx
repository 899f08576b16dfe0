# cython: language_level=3, boundscheck=False, wraparound=False
"""The common exchange of a plain TCP service, fused: one recv, the service's call, one send, in C. See `_express`.

Common is a read that is one whole message, and an answer that the kernel takes at once.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc

from time import monotonic

from allcomers.models.fastpath._http cimport RECEIVE, FastState
from allcomers.models.fastpath._sockets cimport MSG_NOSIGNAL, POLLIN, POLLOUT, recv, send
from allcomers.system._counters cimport BYTES_IN, BYTES_OUT, REQUESTS, CounterRow


cdef class ServiceFastPath:
    """handle() in the place of a Loop's own.

    channels, otherwise, fall_back  as HttpFastPath has them; a call is a message and its answer
    raw     the class of framings that cut nothing
    failed  ready_at a protocol and what its request() has raised: the answer
    closes  what an answer becomes after which the connection ends
    """

    cdef dict _channels
    cdef object _otherwise, _fall_back, _raw, _failed, _closes
    cdef CounterRow _counters
    cdef char* _heard
    cdef double _last

    def __cinit__(self):
        self._heard = <char*>malloc(RECEIVE)
        if self._heard is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._heard)

    def __init__(self, *, dict channels not None, otherwise, fall_back, raw, failed, closes, CounterRow counters not None):
        self._channels = channels
        self._otherwise = otherwise
        self._fall_back = fall_back
        self._raw = raw
        self._failed = failed
        self._closes = closes
        self._counters = counters

    def handle(self, int fd, int events, double now):
        """The poller tells `events` of `fd`."""
        cdef Py_ssize_t heard
        cdef object found = self._channels.get(fd)
        if found is not None and events & ~POLLOUT == POLLIN and (<FastState?>found).is_idle:
            heard = recv(fd, self._heard, RECEIVE, 0)
            if heard > 0:
                self._exchange(<FastState>found, fd, PyBytes_FromStringAndSize(self._heard, heard), now)
                return
        self._otherwise(fd, events, now)

    def leave(self):
        """A call of this keeps its thread."""

    def answered(self, state, reply, now):
        """… and answers there."""

    cdef int _exchange(self, FastState state, int fd, bytes heard, double ready_at) except -1:
        cdef object protocol = state.conn.protocol, framing = protocol.framing, message = heard, answer
        cdef bint is_raw = type(framing) is self._raw
        cdef double began = max(ready_at, self._last), now
        cdef Py_ssize_t size
        state.ready_at = ready_at
        state.readable = PyBytes_GET_SIZE(heard) == RECEIVE
        self._counters.at[BYTES_IN] += PyBytes_GET_SIZE(heard)
        if not is_raw:
            message = _only(framing, heard)
        if message is None or state.readable:
            self._fall_back(state, b"", None, heard, ready_at)
            return 0
        try:
            answer = protocol.request(message)
            if answer is None:
                answer = b""
            elif not is_raw:
                answer = framing.wrap(answer)
            if protocol.closing:
                answer = self._closes(answer)
        except BaseException as error:  # SystemExit too: one message does not stop a server
            answer = self._failed(protocol, error)
        self._last = now = monotonic()
        self._counters.called(began - ready_at, now - began)
        self._counters.at[REQUESTS] += 1
        if type(answer) is not bytes or not state.is_idle:
            self._fall_back(state, b"", (message, answer), b"", now)
            return 0
        size = PyBytes_GET_SIZE(<bytes>answer)
        if size:
            size = send(fd, PyBytes_AS_STRING(<bytes>answer), size, MSG_NOSIGNAL)
            if size < 0:  # the Loop meets the error again, or waits
                size = 0
        self._counters.at[BYTES_OUT] += size
        self._counters.answered(0, now - ready_at)
        state.count += 1
        state.since = now
        if size < PyBytes_GET_SIZE(<bytes>answer):
            self._fall_back(state, (<bytes>answer)[size:], None, None, now)
        return 0


cdef object _only(framing, bytes heard):
    """The one message that this is; None where it is not one, or is to be refused."""
    try:
        messages, rest = framing.split(heard)
        if rest or len(messages) != 1:
            return None
        return messages[0]
    except Exception:  # who splits it again tells
        return None

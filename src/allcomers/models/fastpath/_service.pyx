# cython: language_level=3, boundscheck=False, wraparound=False
"""The common exchange of a plain TCP service, fused: one recv, the service's call, one send, in C. See `_http.pyx`.

Common is a read that is one whole message, and a response that the kernel takes at once.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc

from time import monotonic

from allcomers.models.fastpath._http cimport RECEIVE, FastState
from allcomers.models.fastpath._sockets cimport MSG_NOSIGNAL, POLLIN, POLLOUT, recv, send
from allcomers.system._counters cimport BYTES_IN, BYTES_OUT, REQUESTS, CounterRow


cdef class ServiceFastPath:
    """handle() in the place of a loop's own.

    channels, otherwise, fall_back  as HttpFastPath has them; a call is a message and its response
    raw     the class of framings that cut nothing
    failed  maps a protocol and the exception of its request() to the response
    closes  makes a response one after which the connection ends
    """

    cdef dict _channels
    cdef object _otherwise, _fall_back, _raw, _failed, _closes
    cdef CounterRow _counters
    cdef char* _received
    cdef double _last

    def __cinit__(self):
        self._received = <char*>malloc(RECEIVE)
        if self._received is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._received)

    def __init__(self, *, dict channels not None, otherwise, fall_back, raw, failed, closes, CounterRow counters not None):
        self._channels = channels
        self._otherwise = otherwise
        self._fall_back = fall_back
        self._raw = raw
        self._failed = failed
        self._closes = closes
        self._counters = counters

    def handle(self, int fd, int events, double now):
        """Handle the `events` of `fd` that the poller reports."""
        cdef object found = self._channels.get(fd)
        if found is None or events & ~POLLOUT != POLLIN or not self._serve(<FastState?>found, now):
            self._otherwise(fd, events, now)

    def arrive(self, FastState state not None):
        """Serve what a newcomer has sent by now: the poller has not reported it."""
        self._serve(state, state.ready_at)

    cdef inline bint _serve(self, FastState state, double ready_at) except -1:
        """Serve what a peer sent, if it is idle. Return False where the loop is to see to it."""
        cdef Py_ssize_t size
        if not state.is_idle:
            return False
        size = recv(state.fd, self._received, RECEIVE, 0)
        if size <= 0:
            return False
        self._exchange(state, state.fd, PyBytes_FromStringAndSize(self._received, size), ready_at)
        return True

    def leave(self):
        """Return None: the loop never moves away from a call of a service."""

    def answered(self, state, reply, now):
        """Ignore: no call of a service is handed over."""

    cdef int _exchange(self, FastState state, int fd, bytes data, double ready_at) except -1:
        cdef object protocol = state.conn.protocol, framing = protocol.framing, message = data, response
        cdef bint is_raw = type(framing) is self._raw
        cdef double started = max(ready_at, self._last), now
        cdef Py_ssize_t size
        state.ready_at = ready_at
        state.readable = PyBytes_GET_SIZE(data) == RECEIVE
        self._counters.at[BYTES_IN] += PyBytes_GET_SIZE(data)
        if not is_raw:
            message = _only(framing, data)
        if message is None or state.readable:
            self._fall_back(state, b"", None, data, ready_at)
            return 0
        try:
            response = protocol.request(message)
            if response is None:
                response = b""
            elif not is_raw:
                response = framing.wrap(response)
            if protocol.closing:
                response = self._closes(response)
        except BaseException as error:  # SystemExit too: one message does not stop a server
            response = self._failed(protocol, error)
        self._last = now = monotonic()
        self._counters.called(started - ready_at, now - started)
        self._counters.at[REQUESTS] += 1
        if type(response) is not bytes or not state.is_idle:
            self._fall_back(state, b"", (message, response), b"", now)
            return 0
        size = PyBytes_GET_SIZE(<bytes>response)
        if size:
            size = send(fd, PyBytes_AS_STRING(<bytes>response), size, MSG_NOSIGNAL)
            if size < 0:  # the loop meets the error again, or waits
                size = 0
        self._counters.at[BYTES_OUT] += size
        self._counters.answered(0, now - ready_at)
        state.count += 1
        state.since = now
        if size < PyBytes_GET_SIZE(<bytes>response):
            self._fall_back(state, (<bytes>response)[size:], None, None, now)
        return 0


cdef object _only(framing, bytes data):
    """Return the one message that this is; None where it is not one, or is to be refused."""
    try:
        messages, rest = framing.split(data)
        if rest or len(messages) != 1:
            return None
        return messages[0]
    except Exception:  # raised again by the connection, which splits it, too
        return None

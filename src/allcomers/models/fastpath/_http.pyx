# cython: language_level=3, boundscheck=False, wraparound=False
"""The common exchange, fused: one recv, the app's call, one send, in C. What it stands for is `readiness.Loop`.

A peer at rest has nothing that was heard and not answered, and nothing that was said and not sent. When it is ready_at as
readable, what comes is most often one small request whole, or some of them, each answered at once by a small whole
answer. That is done here, with one buffer for all peers, and its connection is ready_at afterwards, when somebody asks
for it, how often that was (`count_served`). Whatever else comes is handed back: what has been heard, what is to be sent
still, and the answer that is not common. So here is no rule of HTTP, no deadline and no state of a connection.

Where calls run in other threads, the call of one request that came by itself is handed over, and its answer sent when
it is ready_at. Whoever has to do with the connection meanwhile has it ready_at of the request first (`Channel.sync`).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc

from allcomers.calls._ownership cimport Ownership
from allcomers.protocol._response cimport Answer
from allcomers.protocol._bytes cimport Bytes
from allcomers.protocol._head cimport Head, minor_of, take_head, version_of
from allcomers.models.fastpath._serializer cimport MOST_HEAD, SMALL, Serializer
from allcomers.models.fastpath._sockets cimport MSG_NOSIGNAL, POLLIN, POLLOUT, recv, send
from allcomers.system._counters cimport BYTES_IN, BYTES_OUT, REQUESTS, CounterRow
from allcomers.protocol._raw cimport new_object

from functools import partial

from allcomers.errors import PeerError

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec*)

cdef enum:
    FULL = 64 * 1024  # bytes of answers after which they go out: connection.HIGH_WATER
    SEND = FULL + SMALL + MOST_HEAD
    AT_ONCE = 64  # requests of one peer before it is another's turn: connection.CALLS_AT_ONCE


cdef object _LEAVES = PeerError("has asked for all that it wanted")  # what is queued goes out, and that is all


cdef inline double _now() noexcept:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


cdef class FastState:
    """The slots of a `readiness.Channel` that are looked at here.

    is_idle     is its peer at rest?
    readable  may there be more to read than has been read?
    count     exchanges that its connection was not ready_at of
    since     when the last of them ended
    ready_at      when the poller ready_at of what is being answered
    noted     of answers that have not gone out whole, what is noted when they have; or None
    handed_off     the request whose call was handed over and has not answered, what was asked, whether the peer may ask
              again; or None
    """


cdef class Buffers:
    """What is heard and what is to be sent, in one turn of one peer.

    heard   what the socket gave
    text    what the peer said with that, `size` bytes: the same; or what TLS had around it, held by `opened`
    said    what it is to be ready_at, `used` bytes
    """

    cdef char* heard
    cdef const char* text
    cdef bytes opened
    cdef char* said
    cdef Py_ssize_t size, used
    cdef bint lent
    # What was asked, whatever the app makes of it.
    cdef str method, target
    cdef int minor
    cdef bint persists
    # Of the call that runs, for who takes the loop away meanwhile: whose it is, the bytes of `text` that were read, the
    # exchanges before it that are not reported, when it began.
    cdef FastState state
    cdef Head request
    cdef Py_ssize_t at, count
    cdef double now
    cdef list records

    def __cinit__(self):
        self.heard = <char*>malloc(RECEIVE)
        self.said = <char*>malloc(SEND)
        if self.heard is NULL or self.said is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.heard)
        free(self.said)

    cdef bytes rest(self, Py_ssize_t at):
        """What has been heard from there on."""
        return PyBytes_FromStringAndSize(self.text + at, self.size - at)


cdef class HttpFastPath:
    """handle() in the place of a Loop's own.

    channels    descriptor to Channel
    otherwise   the Loop's own handle(fd, events, now)
    fall_back      (channel, unsent, call or None, heard, now): goes on with what is not common; a call is what was handed_off
                (http_calls.Taken) and its answer, or its Live
    close       (channel): it has heard all that it asked for, and wanted no more
    handler     request to answer; or, where `begin` is given, that: request and channel to answer, or to a Live and what
                it says first
    checked, response_to_error  http_calls'
    record      makes one (records.Record) of each answer that is to be noted; None where nobody wants them
    note        (records, peer, now): they have gone out
    is_sealed   do connections have a codec of TLS (tls.Tls)?
    request     the class of requests, response of answers; `serializer` puts those into bytes
    hosts       those that were checked before
    ownership       who has the loop while a call runs, and whether it is to run here; None where nobody takes it away
    answer_late ready_at the answer of a call that has lost the loop; then `loop_moved` is raised
    submit      (work, done): has a call run in another thread; None where all run here
    post        takes a channel and its answer to the loop's own thread, for answered()
    """

    cdef dict _channels, _hosts
    cdef object _otherwise, _fall_back, _close, _handler, _begin, _response_to_error, _checked, _request, _response
    cdef object _submit, _post
    cdef Serializer _serializer
    cdef CounterRow _counters
    cdef Py_ssize_t _max_head, _max_headers, _max_body
    cdef Buffers _buffers
    cdef bint _is_sealed
    cdef str _scheme
    cdef double _last  # when the exchange before ended
    cdef Ownership _owner
    cdef object _answer_late, _loop_moved, _record, _note

    def __init__(self, *, dict channels not None, otherwise, fall_back, close, handler, begin, checked, response_to_error, bint is_sealed,
                 request, response, Serializer serializer not None, dict hosts not None, CounterRow counters not None,
                 Py_ssize_t max_head, Py_ssize_t max_headers, Py_ssize_t max_body, Ownership ownership, answer_late, loop_moved,
                 submit, post, record, note):
        if not issubclass(request, Head):
            raise TypeError("this class has no slots of ours")
        self._channels = channels
        self._otherwise = otherwise
        self._fall_back = fall_back
        self._close = close
        self._handler = handler
        self._begin = begin
        self._checked = checked
        self._response_to_error = response_to_error
        self._is_sealed = is_sealed
        self._scheme = "https" if is_sealed else "http"
        self._request = request
        self._response = response
        self._serializer = serializer
        self._hosts = hosts
        self._counters = counters
        self._max_head = max_head
        self._max_headers = max_headers
        self._max_body = max_body
        self._buffers = Buffers()
        self._owner = ownership
        self._answer_late = answer_late
        self._loop_moved = loop_moved
        self._submit = submit
        self._post = post
        self._record = record
        self._note = note

    def handle(self, int fd, int events, double now):
        """The poller tells `events` of `fd`."""
        cdef Buffers buffers
        cdef FastState state
        cdef object found = self._channels.get(fd)
        if found is not None and events & ~POLLOUT == POLLIN:
            state = <FastState?>found
            if state.is_idle and state.handed_off is None and (self._submit is not None or self._is_inline()):
                buffers = self._lend()
                try:
                    if self._exchange(state, buffers, now):
                        return
                finally:
                    buffers.lent = False
                    buffers.opened = None
        self._otherwise(fd, events, now)

    def answered(self, FastState state not None, reply, double now):
        """The call that was handed over for `state` has returned this. In the loop's own thread."""
        cdef Buffers buffers = self._lend()
        cdef bytes unsent
        cdef Head request
        try:
            (request, (buffers.method, buffers.target, version), buffers.persists), state.handed_off = state.handed_off, None
            buffers.minor = minor_of(version)
            if not self._put(buffers, reply, now):
                self._fall_back(state, b"", (_taken(buffers, request), reply), b"", now)
                return
            self._counters.answered((<Answer>reply).status, now - state.ready_at)
            if self._record is not None:
                self._take_note(buffers, request, <Answer>reply, state.ready_at)
            unsent = self._say(state, buffers, 1, now)
            if not buffers.persists:
                self._part(state, unsent, now)
            elif unsent is not None:
                self._fall_back(state, unsent, None, None, now)
        finally:
            buffers.lent = False

    cdef Buffers _lend(self):
        """Empty ones, until they are not `lent` any more."""
        cdef Buffers buffers = self._buffers
        if buffers.lent:  # the app's call, which another turn of ours has begun, is not over
            self._buffers = buffers = Buffers()
        buffers.lent = True
        buffers.used, buffers.records = 0, None
        return buffers

    cdef bint _exchange(self, FastState state, Buffers buffers, double ready_at) except -1:
        """False where nothing was heard: the Loop is to see why."""
        cdef Py_ssize_t at = 0, size, count = 0, heard = recv(state.fd, buffers.heard, RECEIVE, 0)
        cdef Head request = None
        cdef object reply = None
        cdef bytes unsent = None
        cdef double now = max(ready_at, self._last), began
        if heard <= 0:
            return False
        self._counters.at[BYTES_IN] += heard
        state.ready_at = ready_at
        state.readable = heard == RECEIVE
        buffers.text, buffers.size = buffers.heard, heard
        if self._is_sealed and not self._open(state, buffers):
            return True
        if not self._is_inline():
            self._hand_over(state, buffers, ready_at)
            return True
        heard = buffers.size
        while at < heard and not state.readable and count < AT_ONCE and buffers.used < FULL and self._is_inline():
            request = new_object(self._request)
            size = self._take(request, buffers.text + at, heard - at)
            if size == 0 or not state.is_idle:
                request = None
                break
            self._name(state, request)
            request.ready_at = 0.0 if count else ready_at  # for this one the peer was ready_at as readable; others may be younger
            buffers.method, buffers.target, buffers.minor = request.method, request.target, request.minor
            buffers.persists = request.persists
            began = now
            if self._owner is None:
                reply = self._call(state, request)
            else:
                request.driver = state
                buffers.state, buffers.request, buffers.now = state, request, now
                buffers.at, buffers.count = at + size, count
                reply = self._claim_and_call(buffers)
            self._last = now = _now()
            self._counters.called(began - ready_at, now - began)
            at += size
            if not self._put(buffers, reply, now):
                break
            self._counters.answered((<Answer>reply).status, now - ready_at)
            if self._record is not None:
                self._take_note(buffers, request, <Answer>reply, began)
            request = None
            count += 1
            if not buffers.persists:
                break
        self._counters.at[REQUESTS] += count + (request is not None)
        if count:
            unsent = self._say(state, buffers, count, now)
        if request is not None:
            self._fall_back(state, unsent or b"", (_taken(buffers, request), reply), buffers.rest(at), now)
        elif count and not buffers.persists:
            self._part(state, unsent, now)
        elif unsent is not None or at < heard:
            self._fall_back(state, unsent or b"", None, buffers.rest(at) if at < heard else None, now)
        return True

    cdef int _hand_over(self, FastState state, Buffers buffers, double ready_at) except -1:
        """Have the call of the one request that was heard run in another thread; anything else is not common."""
        cdef Head request = new_object(self._request)
        cdef Py_ssize_t size = 0 if state.readable else self._take(request, buffers.text, buffers.size)
        if size == 0 or size < buffers.size:
            self._fall_back(state, b"", None, buffers.rest(0), ready_at)
            return 0
        self._name(state, request)
        request.ready_at = ready_at
        request.driver = state
        state.handed_off = request, (request.method, request.target, version_of(request.minor)), request.persists
        self._counters.at[REQUESTS] += 1
        self._submit(_work(self, state, request), partial(self._post, state))
        return 0

    cdef inline int _name(self, FastState state, Head request) except -1:
        """Whose request it is."""
        request.peer = state.peer
        request.port = state.port
        request.scheme = self._scheme
        request.server = state.server
        return 0

    cdef bytes _say(self, FastState state, Buffers buffers, Py_ssize_t count, double now):
        """Send the answers to `count` requests; what of them is not sent, as _send has it."""
        cdef bytes unsent = self._send(state, buffers)
        state.count += count
        state.since = now
        if unsent is not None:
            state.noted = buffers.records
        elif buffers.records is not None:
            self._note(buffers.records, state.peer, now)
        return unsent

    cdef int _part(self, FastState state, bytes unsent, double now) except -1:
        """It has asked for all that it wanted."""
        if unsent is not None:
            self._fall_back(state, unsent, None, _LEAVES, now)
        elif self._channels.get(state.fd) is state:
            self._close(state)
        return 0

    cdef inline Py_ssize_t _take(self, Head request, const char* text, Py_ssize_t left) except -1:
        """The bytes of the request that `text` begins with, its body too; 0 where it is not common."""
        cdef Py_ssize_t body, size = take_head(<Bytes>text, left, self._max_head, self._max_headers, request, self._hosts)
        if size == 0 or request.chunked:
            return 0
        if request.length is not None:
            body = request.length
            if body > min(left - size, self._max_body) or request.expects:
                return 0
            request.content = PyBytes_FromStringAndSize(text + size, body)
            size += body
        if not request.persists and (self._is_sealed or size < left):  # it wants a last word, or to be heard out
            return 0
        return size

    cdef bint _open(self, FastState state, Buffers buffers) except -1:
        """What the peer said, without TLS; False where that is not common, and the Loop was ready_at."""
        cdef object codec = state.conn.codec, heard
        try:
            heard = codec.received(PyBytes_FromStringAndSize(buffers.heard, buffers.size))
        except PeerError as error:
            heard = error
        if type(heard) is not bytes or not heard or codec.ended or codec.pending:
            self._fall_back(state, b"", None, heard, state.ready_at)
            return False
        buffers.opened = heard
        buffers.text, buffers.size = PyBytes_AS_STRING(heard), PyBytes_GET_SIZE(heard)
        return True

    cdef int _take_note(self, Buffers buffers, Head request, Answer answer, double began) except -1:
        """An answer has been put: a line of the log, when it has gone out."""
        if buffers.records is None:
            buffers.records = []
        buffers.records.append(
            self._record(request, _asked(buffers), answer.status, PyBytes_GET_SIZE(<bytes>answer.body), began, answer.headers)
        )
        return 0

    cdef bytes _send(self, FastState state, Buffers buffers):
        """Send what was said; None where all has gone out, else what the Loop is to send before anything that its
        codec keeps. It meets an error again."""
        cdef bytes sealed, said
        cdef Py_ssize_t size
        if not self._is_sealed:
            size = self._sent(send(state.fd, buffers.said, buffers.used, MSG_NOSIGNAL))
            return None if size == buffers.used else PyBytes_FromStringAndSize(buffers.said + size, buffers.used - size)
        said = PyBytes_FromStringAndSize(buffers.said, buffers.used)
        try:
            sealed = state.conn.codec.seal(said)
        except OSError:
            return said
        size = self._sent(send(state.fd, PyBytes_AS_STRING(sealed), PyBytes_GET_SIZE(sealed), MSG_NOSIGNAL))
        if size == PyBytes_GET_SIZE(sealed):
            return None
        state.conn.codec.keep(sealed[size:])
        return b""

    cdef inline Py_ssize_t _sent(self, Py_ssize_t size) noexcept:
        if size < 0:
            return 0
        self._counters.at[BYTES_OUT] += size
        return size

    cdef inline bint _is_inline(self) noexcept:
        return self._submit is None if self._owner is None else self._owner.inline

    cdef object _claim_and_call(self, Buffers buffers):
        """Call, in a thread that may lose the loop meanwhile: then what is here is another's, and is left alone."""
        cdef long number = self._owner.begin()
        cdef object reply = self._call(buffers.state, buffers.request)
        if not self._owner.end(number):
            self._answer_late(reply)
            raise self._loop_moved
        buffers.state = buffers.request = None
        return reply

    def leave(self):
        """The loop goes on elsewhere: (channel, what is to be sent still, what was handed_off and whose call runs, what has
        been heard after it), if one runs here; else None."""
        cdef Buffers buffers = self._buffers
        cdef FastState state = buffers.state
        cdef Head request = buffers.request
        if state is None:
            return None
        buffers.state = buffers.request = None
        state.noted = buffers.records
        state.count += buffers.count
        state.since = buffers.now
        self._counters.at[REQUESTS] += buffers.count + 1
        return (
            state,
            PyBytes_FromStringAndSize(buffers.said, buffers.used),
            _taken(buffers, request),
            buffers.rest(buffers.at),
        )

    cdef object _call(self, FastState state, Head request):
        cdef object reply
        try:
            if self._begin is not None:
                return self._begin(request, state)
            reply = self._handler(request)
            if type(reply) is self._response and type((<Answer>reply).body) is bytes and (<Answer>reply).close is None:
                return reply
            return self._checked(request, reply)
        except BaseException as error:  # SystemExit too: one request does not stop a server
            return self._response_to_error(request, error)


    cdef bint _put(self, Buffers buffers, object reply, double now) except -1:
        """Put the whole answer behind those that are there; False where it is not common."""
        cdef Py_ssize_t size = self._serializer.put(
            buffers.said + buffers.used, buffers.method, buffers.minor, buffers.persists, reply, now
        )
        buffers.used += size
        return size > 0


cdef class Work:
    """A call that runs in another thread (connection.Work)."""

    cdef HttpFastPath _lane
    cdef FastState _state
    cdef Head _request

    def __call__(self):
        return self._lane._call(self._state, self._request)


cdef inline Work _work(HttpFastPath lane, FastState state, Head request):
    cdef Work work = Work.__new__(Work)
    work._lane, work._state, work._request = lane, state, request
    return work


cdef inline tuple _taken(Buffers buffers, Head request):
    """As http_calls.Taken."""
    return request, _asked(buffers)


cdef inline tuple _asked(Buffers buffers):
    return buffers.method, buffers.target, version_of(buffers.minor)

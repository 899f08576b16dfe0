# cython: language_level=3, boundscheck=False, wraparound=False
"""The common exchange, fused: one recv, the app's call, one send, in C. It stands for `channel.Channel.drive`.

An idle peer has nothing that was received and not answered, and nothing that was queued and not sent. When it becomes
readable, what comes is most often one small request whole, or some of them, each answered at once by a small whole
response. That is done here, with one buffer for all peers; how often it was done is reported to the connection later,
when that is needed (`count_served`). Whatever else comes is handed back: what was received, what is still to be sent, and
the result that is not common. So here is no rule of HTTP, no deadline and no state of a connection.

Where calls run in other threads, the call of one request that came by itself is handed over, and its response sent when
it is there. Code that needs the connection meanwhile has the request reported to it first (`Channel.sync`).

A response in pieces that are pulled is sent here, too, for as long as the socket takes them whole; the connection gets
what is left of it, if anything. Pieces that come without a wait are gathered: where the next is late, a watchdog sends
them while the app makes it, and so transmission goes on (PEP 3333, "Buffering and Streaming").

Of HTTP/2, requests whose heads are known are served in the same way, as many as one read brings (`_streams.pyx`).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from allcomers.calls._ownership cimport Ownership
from allcomers.calls._timed_call cimport RunningSlots, WatchedSlots, watch
from allcomers.connection.http._log_record cimport Finisher, RecordSlots
from allcomers.protocol._response cimport Answer, put_bytes
from allcomers.protocol._bytes cimport Bytes
from allcomers.protocol._chunks cimport whole_body
from allcomers.protocol._head cimport FieldLines, Head, MINOR_OF_2, Responder, Starter, minor_of, take_head, version_of
from allcomers.models.fastpath._serializer cimport CHUNKED, MOST_FRAME, MOST_HEAD, SMALL, Serializer, put_chunk, put_last_chunk
from allcomers.models.fastpath._streams cimport StreamSerializer, take_request
from allcomers.models.fastpath._sockets cimport MSG_NOSIGNAL, POLLIN, POLLOUT, acknowledge, recv, send
from allcomers.protocol.http2._session cimport SessionSlots
from allcomers.system._counters cimport BYTES_IN, BYTES_OUT, MEMORY_FULL, REQUESTS, CounterRow
from allcomers.protocol._raw cimport new_object

from functools import partial

from allcomers.connection.base import BODY, CALLED
from allcomers.connection.call import FAILED, PENDING
from allcomers.connection.http.response_body import ENDLESS, EndOfBody, PulledBody
from allcomers.connection.http.response_head import plan
from allcomers.errors import LoopMoved, PeerError
from allcomers.protocol.encode import CONTINUE
from allcomers.protocol.message import title
from allcomers.system.faults import report

cdef enum:
    FULL = 64 * 1024  # bytes of responses after which they go out: connection.base.HIGH_WATER
    SEND = FULL + SMALL + MOST_HEAD
    AT_ONCE = 64  # requests of one peer before it is another's turn: connection.base.CALLS_AT_ONCE
    TURN = 256 * 1024  # bytes of one peer's pieces before it is another's turn, and what each counts for: as channel.py
    STEP = 4096  # and pieces.py have them
    HELD = 4096  # bytes that may be held for a peer: protocol.body.UNCOUNTED

PUSHED, KEPT = 1, 2  # what FastState.push() returns

cdef double PROMPT = 0.005  # seconds for the same: poller.PROMPT
cdef double QUICK = 0.001  # seconds in which a piece is made without a wait: watchdog.LOOK
cdef object _COMPLETE = EndOfBody.COMPLETE
cdef object _NONE_LEFT = object()
cdef object _ENDLESS = ENDLESS
cdef bytes _CONTINUE = CONTINUE

cdef enum Given:
    UNCOMMON  # nothing of it is sent
    HANDED_ON  # the connection goes on with it
    WHOLE  # all is sent but what is in the buffer

cdef object _LEAVES = PeerError("the last request of this peer was answered")  # what is queued goes out, no more


cdef inline double _now() noexcept:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


cdef class FastState:
    """The slots of a `channel.Channel` that are used here.

    is_idle     is its peer idle?
    readable    may there be more to read than has been read?
    count       exchanges that were not reported to its connection
    since       the end of the last of them
    ready_at    when the poller reported what is being answered
    noted       the access records of responses that have not gone out whole; or None
    handed_off  the request whose call was handed over and has not answered, its request line, whether the connection
                stays open, and the call itself if its app waits on the event loop (else None); or None
    held        the beginning of a request, of whose body the rest is to come; or None
    held_at     when its first byte came
    intake      the connection, while more of a body comes and nothing else changes; of an idle peer of HTTP/2, its
                Session; or None
    """

    def push(self, bytes piece not None):
        """Send a piece of the response of an async call, as `pieces.send_piece` does. Return PUSHED where the socket
        has taken it whole; KEPT where the connection has the end of it to send, of which it is to be told; 0, without
        an effect, where that is not common."""
        cdef object conn = self.conn, codec, body
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece), count
        cdef char framed[SMALL + MOST_FRAME]
        cdef char* end
        if conn is None or conn.phase is not CALLED or size > SMALL:
            return 0
        codec, body = conn.codec, conn.stream
        if body is None or not codec.is_clear or codec.pending or size > body.most - body.sent:
            return 0
        body.sent += size
        end = put_chunk(framed, piece) if body.chunked else put_bytes(framed, piece)
        size = end - framed
        count = max(0, send(self.fd, framed, size, MSG_NOSIGNAL)) if size else 0
        (<CounterRow?>conn.counters).at[BYTES_OUT] += count
        if count == size:
            return PUSHED
        codec.keep(PyBytes_FromStringAndSize(framed + count, size - count))
        return KEPT


cdef class Buffers:
    """What is received and what is to be sent, in one turn of one peer.

    received  what the socket gave
    text      the peer's data, `size` bytes: the same; or what TLS had around it, held by `opened`
    unsent    the responses, `used` bytes
    head      the size of the head that was parsed last
    lacks     does the body behind it lack chunks?
    expects   does the client wait for 100 Continue before it sends that?
    """

    cdef char* received
    cdef const char* text
    cdef bytes opened
    cdef char* unsent
    cdef Py_ssize_t size, used, head
    cdef bint lent, lacks, expects
    # The request line, whatever the app makes of it.
    cdef str method, target
    cdef int minor
    cdef bint persists
    # Of the call that runs, for leave(): its peer, the bytes of `text` that were read, the exchanges before it that are
    # not reported, its start.
    cdef FastState state
    cdef Head request
    cdef Py_ssize_t at, count
    cdef double now
    cdef list records
    # Of the response whose pieces are pulled: its PulledBody, or None; how it goes out, and the bytes of its body so far.
    cdef object stream, most
    cdef bint chunked, stays_open
    cdef long long left, sent

    def __cinit__(self):
        self.received = <char*>malloc(RECEIVE)
        self.unsent = <char*>malloc(SEND)
        if self.received is NULL or self.unsent is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.received)
        free(self.unsent)

    cdef bytes rest(self, Py_ssize_t at):
        """Return what was received from there on."""
        return PyBytes_FromStringAndSize(self.text + at, self.size - at)


cdef class HttpFastPath:
    """handle() in the place of a loop's own.

    channels     descriptor to Channel
    otherwise    the loop's own handle(fd, events, now)
    fall_back    (channel, unsent, call or None, received, now): goes on with what is not common; a call is a request with
                 its line (endpoint.Taken), and its result or its AsyncCall
    close        (channel): its last request was answered
    handler      maps a request to a response; or, where `begin` is given, that does: a request and a channel to a
                 response, or to an AsyncCall and its first result, or to a call of the class `waiting`
    checked, response_to_error  as handler_call has them
    record       the class of a response's AccessRecord; None where there is no access log
    note         the log_record.Finisher of records whose responses have gone out; None where there is no access log
    proxies      as HttpEndpoint has them
    times        makes the Times of a request whose call is due, or None; `shows_times` where its client is to see them
    running      watches calls that have a time limit and run here (watchdog.RunningCalls); None where none has one
    end_late     (call, reply): called after one that was too late
    forget       (reply, request): closes what is open, of a call whose result came too late
    is_sealed    do connections have a codec of TLS (tls.Tls)?
    request      the class of requests, `response` of responses; `serializer` encodes those
    hosts        Host fields that were checked before
    ownership    which thread has the loop while a call runs, and whether it may run here; None where the loop never moves
    pulls        the Ownership whose watchdog calls flush() while a piece is pulled, perhaps that; None: no piece is held
    answer_late  posts the result of a call that has lost the loop; then LoopMoved is raised
    max_requests of a connection, or 0; its last one is handed back
    submit       (work, done): has a call run in another thread; None where all run here
    post         brings (channel, call, result) to the loop's own thread, for answered(); the call has no name: None
    refuses      (ready_at, now, whether its call would run here): is a request refused? Asked between set_late(True) and
                 set_late(False)
    lasts        (its seconds so far, now): called after each call of a turn that has taken more than `long_turn` seconds
    overloaded   the result of a call that was refused later; `refusal` is the response to either
    patience     seconds for which the beginning of a request may wait here for the rest of its body; 0.0: it may not
    streams      encodes responses to requests of HTTP/2, of which `at_once` may be open at once; `stream_driver` is the
                 class of what drives these (http2.driver.StreamDriver)
    """

    cdef dict _channels, _hosts
    cdef Responder _responder  # the handler, if it is one
    cdef Starter _starter  # `begin`, if it is one
    cdef object _otherwise, _fall_back, _close, _handler, _begin, _response_to_error, _checked, _request, _response
    cdef object _submit, _post
    cdef Serializer _serializer
    cdef StreamSerializer _streams
    cdef object _stream_driver
    cdef Py_ssize_t _at_once
    cdef CounterRow _counters
    cdef Py_ssize_t _max_head, _max_headers, _max_body, _max_requests
    cdef Buffers _buffers
    cdef bint _is_sealed
    cdef str _scheme
    cdef double _last  # when the exchange before ended
    cdef Ownership _ownership, _pulls
    cdef object _answer_late, _record, _refuses, _lasts, _overloaded, _refusal
    cdef Finisher _note
    cdef dict _trusted
    cdef RunningSlots _running
    cdef object _proxies, _times, _end_late, _forget, _waiting
    cdef bint _shows_times
    cdef double _long_turn
    cdef bint _late
    cdef double _patience

    def __init__(self, *, dict channels not None, otherwise, fall_back, close, handler, begin, waiting, checked, response_to_error, bint is_sealed,
                 request, response, Serializer serializer not None, dict hosts not None, CounterRow counters not None,
                 Py_ssize_t max_head, Py_ssize_t max_headers, Py_ssize_t max_body, Py_ssize_t max_requests,
                 Ownership ownership, Ownership pulls, answer_late,
                 submit, post, refuses, lasts, double long_turn, overloaded, refusal, record, Finisher note,
                 proxies, times, bint shows_times, RunningSlots running, end_late, forget, double patience,
                 StreamSerializer streams, stream_driver, Py_ssize_t at_once):
        if not issubclass(request, Head):
            raise TypeError("this class has no slots of ours")
        if record is not None and not issubclass(record, RecordSlots):
            raise TypeError("this class has no slots of ours")
        self._channels = channels
        self._otherwise = otherwise
        self._fall_back = fall_back
        self._close = close
        self._handler = handler
        self._responder = handler if isinstance(handler, Responder) else None
        self._begin = begin
        self._starter = begin if isinstance(begin, Starter) else None
        self._waiting = waiting
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
        self._max_requests = max_requests
        self._buffers = Buffers()
        self._ownership = ownership
        self._pulls = pulls
        if pulls is not None:
            pulls.flush = self.flush
        self._answer_late = answer_late
        self._submit = submit
        self._post = post
        self._refuses = refuses
        self._lasts = lasts
        self._long_turn = long_turn
        self._overloaded = overloaded
        self._refusal = refusal
        self._late = False
        self._record = record
        self._note = note
        self._proxies = proxies
        self._trusted = None if proxies is None else proxies.known
        self._times = times
        self._shows_times = shows_times
        self._running = running
        self._end_late = end_late
        self._forget = forget
        self._patience = patience
        self._streams = streams
        self._stream_driver = stream_driver
        self._at_once = at_once

    def handle(self, fd, int events, double now):
        """Handle the `events` of `fd` that the poller reports."""
        cdef object found = self._channels.get(fd)
        if found is None or events & ~POLLOUT != POLLIN or not self._serve(<FastState?>found, now):
            self._otherwise(fd, events, now)

    def arrive(self, FastState state not None):
        """Serve what a newcomer has sent by now, if that is common: the poller has not reported it."""
        self._serve(state, state.ready_at)

    cdef inline bint _serve(self, FastState state, double ready_at) except -1:
        """Serve what a peer sent, if it is idle. Return False where the loop is to see to it."""
        cdef Buffers buffers
        if state.intake is not None:
            return self._serve_streams(state, ready_at) if state.is_idle else self._take_in(state, ready_at)
        if not state.is_idle or state.handed_off is not None or self._counters.at[MEMORY_FULL]:
            return False
        if self._submit is None and not self._is_inline():
            return False
        buffers = self._lend()
        try:
            return self._exchange(state, buffers, ready_at)
        finally:
            buffers.lent = False
            buffers.opened = None

    cdef bint _serve_streams(self, FastState state, double ready_at) except -1:
        """Do what _serve() does, for an idle peer of HTTP/2."""
        cdef Buffers buffers
        if self._counters.at[MEMORY_FULL] or not self._is_inline():
            return False
        buffers = self._lend()
        try:
            return self._exchange_streams(state, buffers, ready_at)
        finally:
            buffers.lent = False
            buffers.opened = None

    cdef bint _take_in(self, FastState state, double now) except -1:
        """Receive more of a body, which its connection keeps. Return False where the loop is to see to it."""
        cdef object conn = state.intake, channel = state
        cdef Buffers buffers
        cdef Py_ssize_t received
        if conn.phase is not BODY or self._counters.at[MEMORY_FULL]:
            return False
        buffers = self._lend()
        received = recv(state.fd, buffers.received, RECEIVE, 0)
        buffers.lent = False
        if received <= 0:
            return False
        acknowledge(state.fd)
        state.readable = received == RECEIVE
        conn.received(PyBytes_FromStringAndSize(buffers.received, received), now)
        if conn.phase is not BODY or conn.wants != POLLIN or state.readable:  # READ is numbered as POLLIN
            channel.drive(now)
        return True

    def answered(self, FastState state not None, reply, double now):
        """Send the result of the call that was handed over for `state`. Called in the loop's own thread."""
        cdef Buffers buffers = self._lend()
        cdef Head request
        try:
            (request, (buffers.method, buffers.target, version), buffers.persists, _), state.handed_off = state.handed_off, None
            buffers.minor = minor_of(version)
            self._respond(state, buffers, request, self._refusal if reply is self._overloaded else reply, now)
        finally:
            buffers.lent = False

    def set_late(self, bint late):
        """Ask refuses() for each request from now on, or for none."""
        self._late = late

    cdef int _respond(self, FastState state, Buffers buffers, Head request, object reply, double now) except -1:
        """Send the result of a call of one request that came by itself."""
        cdef bytes unsent
        cdef Answer answer
        if not self._put(buffers, request, reply, now):
            self._fall_back(state, b"", (_with_line(buffers, request), reply), b"", now)
            return 0
        answer = self._serializer.answer_of(reply)
        self._counters.answered(answer.status, now - state.ready_at)
        if self._record is not None:
            self._add_record(buffers, request, answer, PyBytes_GET_SIZE(<bytes>answer.body), state.ready_at)
        unsent = self._flush(state, buffers, 1, not buffers.persists, now)
        if not buffers.persists:
            self._end(state, unsent, now)
        elif unsent is not None:
            self._fall_back(state, unsent, None, None, now)
        return 0

    cdef Buffers _lend(self):
        """Return empty buffers, which are in use until `lent` is False."""
        cdef Buffers buffers = self._buffers
        if buffers.lent:  # the app's call of an outer turn is not over
            self._buffers = buffers = Buffers()
        buffers.lent = True
        buffers.stream = None
        buffers.used, buffers.records = 0, None
        return buffers

    cdef bint _exchange(self, FastState state, Buffers buffers, double ready_at) except -1:
        """Serve what a peer sent. Return False where nothing was received: the loop is to see why."""
        cdef Py_ssize_t at = 0, size, count = 0, before = _put_held(state, buffers)
        cdef Py_ssize_t received = recv(state.fd, buffers.received + before, RECEIVE - before, 0)
        cdef Head request = None
        cdef Answer answer
        cdef object reply = None
        cdef bytes unsent = None
        cdef double now = max(ready_at, self._last), started
        cdef long long sent
        cdef Given given
        cdef bint holds = False
        if received <= 0:
            return False
        self._counters.at[BYTES_IN] += received
        state.readable = received == RECEIVE - before
        state.ready_at = state.held_at if before else ready_at
        state.held = None
        received += before
        buffers.text, buffers.size = buffers.received, received
        if self._is_sealed and not self._open(state, buffers):
            return True
        if not self._is_inline():
            self._hand_over(state, buffers, ready_at)
            return True
        received = buffers.size
        while at < received and not state.readable and count < AT_ONCE and buffers.used < FULL and self._is_inline():
            request = new_object(self._request)
            size = self._parse(buffers, request, buffers.text + at, received - at)
            if size == 0 or not state.is_idle or (self._max_requests != 0 and self._is_last(state, count)):
                holds = size == 0 and self._may_hold(state, buffers, request, received - at)
                request = None
                break
            self._set_origin(state, request)
            request.ready_at = 0.0 if count else ready_at  # for this one the peer became readable; others may be younger
            buffers.method, buffers.target, buffers.minor = request.method, request.target, request.minor
            buffers.persists = request.persists
            started = now
            at += size
            reply = _reply_to(self, state, buffers, request, at, count, ready_at, &now)
            if self._waiting is not None and type(reply) is self._waiting:
                if at == received and not count and state.is_idle:
                    state.handed_off = request, _line(buffers), request.persists, reply
                    self._counters.at[REQUESTS] += 1
                    return True
                reply = reply.hand_over(), PENDING
            if type(reply) is PulledBody and request.times is None and self._running is None:
                if count:  # what was answered before
                    unsent = self._flush_early(state, buffers, count, now)
                    count = 0
                    if unsent is not None:
                        break
                given = self._give(state, buffers, request, reply, at, started, now)
                now = self._last
                if given == HANDED_ON:
                    return True
                if given == UNCOMMON:
                    break
                answer, sent = <Answer?>reply.response, buffers.sent
            elif self._put(buffers, request, reply, now):
                answer = self._serializer.answer_of(reply)
                sent = PyBytes_GET_SIZE(<bytes>answer.body)
            else:
                break
            self._counters.answered(answer.status, now - state.ready_at)
            if self._record is not None:
                self._add_record(buffers, request, answer, sent, min(started, state.ready_at) if before else started)
            state.ready_at = ready_at
            request, before = None, 0
            count += 1
            if not buffers.persists:
                break
        self._counters.at[REQUESTS] += count + (request is not None)
        if count:
            unsent = self._flush(state, buffers, count, request is None and not buffers.persists, now)
        if request is not None:
            self._fall_back(state, unsent or b"", (_with_line(buffers, request), reply), buffers.rest(at), now)
        elif count and not buffers.persists:
            self._end(state, unsent, now)
        elif holds and unsent is None:
            self._hold(state, buffers, at)
        elif unsent is not None or at < received:
            self._fall_back(state, unsent or b"", None, buffers.rest(at) if at < received else None, now)
        return True

    cdef bint _exchange_streams(self, FastState state, Buffers buffers, double ready_at) except -1:
        """Do what _exchange() does, for requests of HTTP/2. What is not common goes to the connection, with all that
        follows it."""
        cdef SessionSlots session = state.intake
        cdef dict known = state.intake.reader.known
        cdef Py_ssize_t at = 0, size, count = 0, left = self._at_once
        cdef Py_ssize_t received = recv(state.fd, buffers.received, RECEIVE, 0)
        cdef Head request = None
        cdef Answer answer
        cdef object reply = None
        cdef bytes unsent = None
        cdef double now = max(ready_at, self._last), until = now + PROMPT, started
        if received <= 0:
            return False
        self._counters.at[BYTES_IN] += received
        state.readable, state.ready_at = received == RECEIVE, ready_at
        buffers.text, buffers.size = buffers.received, received
        if self._is_sealed and not self._open(state, buffers):
            return True
        while at < buffers.size and left > 0 and state.is_idle and self._is_inline():
            if self._max_requests != 0 and self._is_last(state, count):
                break
            request = new_object(self._request)
            size = take_request(session, known, <Bytes>buffers.text + at, buffers.size - at, request)
            if size == 0:
                request = None
                break
            self._set_origin(state, request)
            request.driver = self._stream_driver(state)
            request.ready_at = 0.0 if count else ready_at
            buffers.method, buffers.target, buffers.minor = request.method, request.target, request.minor
            started = now
            at += size
            reply = _reply_to(self, state, buffers, request, at, count, ready_at, &now)
            if self._waiting is not None and type(reply) is self._waiting:
                reply = reply.hand_over(), PENDING
            size = self._streams.put(buffers.unsent + buffers.used, session, buffers.method, reply, now)
            if size == 0:
                break
            buffers.used += size
            answer = self._serializer.answer_of(reply)
            self._counters.answered(answer.status, now - ready_at)
            if self._record is not None:
                self._add_record(buffers, request, answer, PyBytes_GET_SIZE(<bytes>answer.body), started)
            request = None
            count += 1
            left -= 1
            if buffers.used >= FULL or now >= until:  # one slow call keeps no other response back for long
                unsent = self._flush_early(state, buffers, count, now)
                count, until = 0, now + PROMPT
                if unsent is not None:
                    break
        self._counters.at[REQUESTS] += count + (request is not None)
        if count:
            unsent = self._flush(state, buffers, count, False, now)
        if request is not None:
            self._fall_back(state, unsent or b"", (_with_line(buffers, request), reply), buffers.rest(at), now)
        elif unsent is not None or at < buffers.size or state.readable:
            self._fall_back(state, unsent or b"", None, buffers.rest(at) if at < buffers.size else None, now)
        return True

    cdef int _hand_over(self, FastState state, Buffers buffers, double ready_at) except -1:
        """Run the call of the one request that was received in another thread; anything else is not common."""
        cdef Head request = new_object(self._request)
        cdef Py_ssize_t size = 0 if state.readable else self._parse(buffers, request, buffers.text, buffers.size)
        if size == 0 or size < buffers.size or (self._max_requests != 0 and self._is_last(state, 0)):
            if size == 0 and not state.readable and self._may_hold(state, buffers, request, buffers.size):
                self._hold(state, buffers, 0)
            else:
                self._fall_back(state, b"", None, buffers.rest(0), ready_at)
            return 0
        self._set_origin(state, request)
        request.ready_at = ready_at
        if self._late and self._refuses(ready_at, ready_at, False):
            buffers.method, buffers.target, buffers.minor = request.method, request.target, request.minor
            buffers.persists = request.persists
            self._counters.at[REQUESTS] += 1
            self._respond(state, buffers, request, self._refusal, ready_at)
            return 0
        state.handed_off = request, (request.method, request.target, version_of(request.minor)), request.persists, None
        self._counters.at[REQUESTS] += 1
        self._submit(_work(self, state, request), partial(self._post, state, None))
        return 0

    cdef bint _is_last(self, FastState state, Py_ssize_t count) except -1:
        """Return whether the request after `count` that are not reported yet is the last of its connection."""
        return state.conn.served + state.count + count + 1 >= self._max_requests

    cdef inline int _set_origin(self, FastState state, Head request) except -1:
        """Set the request's origin, as HttpEndpoint.whole(), and who drives it."""
        cdef FieldLines lines
        if self._proxies is None:
            request.peer = state.peer
            request.port = state.port
            request.scheme = self._scheme
        else:
            lines = request.read
            if lines.reader is not self._proxies or lines.origin is None or self._trusted.get(state.peer) is not True:
                origin = self._proxies.client((state.peer, state.port, self._scheme), request)
                if lines.kept and lines.reader is not self._proxies and self._trusted.get(state.peer) is True:
                    lines.reader, lines.origin = self._proxies, self._proxies.origin(request)
            else:
                origin = lines.origin
            request.peer, request.port, request.scheme = origin
        request.server = state.server
        if self._is_sealed:
            request.tls = state.conn.codec.tls
        request.driver = state
        if self._times is not None:
            request.times = self._times()
        return 0

    cdef bytes _flush(self, FastState state, Buffers buffers, Py_ssize_t count, bint is_last, double now):
        """Send the responses to `count` requests; `is_last`: nothing follows. Return what is not sent, as _send does."""
        cdef bytes unsent = self._send_text(state, buffers.unsent, buffers.used, is_last)
        state.count += count
        state.since = now
        if unsent is not None:
            state.noted = buffers.records
        elif buffers.records is not None:
            for record in buffers.records:
                self._note.finish_one(<RecordSlots>record, state.peer, now)
        return unsent

    cdef bytes _flush_early(self, FastState state, Buffers buffers, Py_ssize_t count, double now):
        """Send the responses to `count` requests before others are answered. Return what is not sent, as _send does."""
        cdef bytes unsent = self._flush(state, buffers, count, False, now)
        self._counters.at[REQUESTS] += count
        buffers.used, buffers.records = 0, None
        return unsent

    cdef int _end(self, FastState state, bytes unsent, double now) except -1:
        """Close the peer after its last response."""
        if unsent is not None:
            self._fall_back(state, unsent, None, _LEAVES, now)
        elif self._channels.get(state.fd) is state:
            self._close(state)
        return 0

    cdef inline Py_ssize_t _parse(self, Buffers buffers, Head request, const char* text, Py_ssize_t left) except -1:
        """Parse the request that `text` begins with. Return its size, with its body; 0 where it is not common."""
        cdef Py_ssize_t body, size = take_head(<Bytes>text, left, self._max_head, self._max_headers, request, self._hosts)
        buffers.head = size
        if size == 0:
            return 0
        if request.chunked:
            request.content = whole_body(text + size, left - size, self._max_body, &body)
            buffers.lacks = body == 0
            if body <= 0:
                return 0
            size += body
        elif request.length is not None:
            body = request.length
            if body > min(left - size, self._max_body):
                return 0
            request.content = PyBytes_FromStringAndSize(text + size, body)
            size += body
        if not request.persists and size < left:  # more data is to follow
            return 0
        return size

    cdef bint _may_hold(self, FastState state, Buffers buffers, Head request, Py_ssize_t left) except -1:
        """Return whether `request`, which is uncommon, only lacks the rest of its body, and all of it has room here."""
        if not self._patience or not state.is_idle or left > HELD or not buffers.head:
            return False
        buffers.expects = request.expects and buffers.head == left
        if self._begin is not None and (request.chunked or request.expects):  # its app is called before the body comes
            return False
        if request.chunked:
            return buffers.lacks
        if request.length is None or request.length > min(self._max_body, RECEIVE - 1 - buffers.head):
            return False
        return buffers.head + request.length > left

    cdef int _hold(self, FastState state, Buffers buffers, Py_ssize_t at) except -1:
        """Keep a request whose body is to come, and which the client may now send: its connection need not know of it
        before the body is late."""
        cdef object channel = state
        cdef Py_ssize_t size = PyBytes_GET_SIZE(_CONTINUE) if buffers.expects else 0, sent = 0
        if size:
            sent = self._sent(send(state.fd, PyBytes_AS_STRING(_CONTINUE), size, MSG_NOSIGNAL))
        if sent != size:
            self._fall_back(state, _CONTINUE[sent:] if sent else b"", None, buffers.rest(at), state.ready_at)
            return 0
        state.held = buffers.rest(at)
        state.held_at = state.ready_at
        channel.look_by(state.held_at + self._patience)
        return 0

    cdef bint _open(self, FastState state, Buffers buffers) except -1:
        """Decrypt what was received. Return False where that is not common: then the loop has got it."""
        cdef object codec = state.conn.codec, plain
        cdef bint was_ready = codec.ready
        try:
            plain = codec.received(PyBytes_FromStringAndSize(buffers.received, buffers.size))
        except PeerError as error:
            plain = error
        if plain is None and not state.readable:
            self._go_on_opening(state, codec, not was_ready and codec.ready)
            return False
        if type(plain) is not bytes or not plain or codec.ended or codec.pending:
            self._fall_back(state, b"", None, plain, state.ready_at)
            return False
        buffers.opened = plain
        buffers.text, buffers.size = PyBytes_AS_STRING(plain), PyBytes_GET_SIZE(plain)
        return True

    cdef int _go_on_opening(self, FastState state, codec, bint is_opened) except -1:
        """Send what TLS has to say by itself, in its handshake or later; `is_opened`: the handshake is over now."""
        cdef bytes sealed
        cdef Py_ssize_t size = 0
        if is_opened:
            state.conn.opened(None, state.ready_at)
        if codec.pending:
            sealed = codec.output()
            size = self._sent(send(state.fd, PyBytes_AS_STRING(sealed), PyBytes_GET_SIZE(sealed), MSG_NOSIGNAL))
            codec.sent(size)
        if codec.pending or (is_opened and not state.conn.is_idle):
            self._fall_back(state, b"", None, None, state.ready_at)
        return 0

    cdef int _add_record(self, Buffers buffers, Head request, Answer answer, long long sent, double started) except -1:
        """Add the access record of a response whose end was put: it is logged when that has gone out."""
        cdef RecordSlots record = new_object(self._record)
        record.fill(request, _line(buffers), answer.status, sent, started, answer.headers, None)
        if buffers.records is None:
            buffers.records = []
        buffers.records.append(record)
        return 0

    cdef bytes _send(self, FastState state, Buffers buffers):
        """Send what is queued. Return None where all has gone out, else what the loop is to send before anything that
        its codec keeps; it meets an error again."""
        return self._send_text(state, buffers.unsent, buffers.used, False)

    cdef bytes _send_text(self, FastState state, const char* text, Py_ssize_t left, bint is_last):
        """Send these bytes, `left` of them; `is_last`: nothing follows. Return what _send does."""
        cdef bytes sealed, plain
        cdef Py_ssize_t size
        if not self._is_sealed:
            size = self._sent(send(state.fd, text, left, MSG_NOSIGNAL))
            return None if size == left else PyBytes_FromStringAndSize(text + size, left - size)
        plain = PyBytes_FromStringAndSize(text, left)
        try:
            sealed = state.conn.codec.seal(plain, is_last)
        except OSError:
            return plain
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
        return self._submit is None if self._ownership is None else self._ownership.inline

    cdef object _claim_and_call(self, Buffers buffers):
        """Call, in a thread that may lose the loop meanwhile: then all of this belongs to another, and is left alone."""
        cdef FastState state = buffers.state  # before begin(): from then on, leave() may empty the buffers
        cdef Head request = buffers.request
        cdef long number = self._ownership.begin()
        cdef object reply
        try:
            reply = self._run(state, request)
        except BaseException as error:  # as in Auto.here: the call has ended, and the loop may have moved on
            report(error, "a call raised")
            reply = FAILED
        if not self._ownership.end(number):
            self._answer_late(reply)
            raise LoopMoved
        buffers.state = buffers.request = None
        return reply

    cdef object _run(self, FastState state, Head request):
        """Run a call; one that has a time limit as TimedInline.here() does."""
        cdef bint is_in_time
        cdef Work work
        if self._running is None:
            return self._call(request)
        work = _work(self, state, request)
        cdef object reply = watch(self._running, work, work, &is_in_time)
        if not is_in_time:
            self._end_late(work, reply)
        return reply

    def leave(self):
        """Detach the call that runs here: the loop goes on in another thread. Return (channel, bytes that are still to
        be sent, the request whose call runs and its line, its PulledBody if the response has begun, the bytes received
        after it); None where no call runs."""
        cdef Buffers buffers = self._buffers
        cdef FastState state = buffers.state
        cdef Head request = buffers.request
        cdef object stream = buffers.stream
        if state is None:
            return None
        buffers.state = buffers.request = None
        if stream is not None:
            _report_sent(buffers, stream)
        state.noted = buffers.records
        state.count += buffers.count
        state.since = buffers.now
        self._counters.at[REQUESTS] += buffers.count + 1
        return (
            state,
            PyBytes_FromStringAndSize(buffers.unsent, buffers.used),
            _with_line(buffers, request),
            stream,
            buffers.rest(buffers.at),
        )

    cdef object _call(self, Head request):
        cdef object reply, times = request.times
        if times is None:
            return self._call_app(request)
        times.__enter__()
        reply = self._call_app(request)
        if type(reply) is not tuple:  # else its AsyncCall goes on
            times.__exit__()
        return reply

    cdef object _call_app(self, Head request):
        cdef object reply
        try:
            if self._starter is not None:
                return self._starter.start(request, request.driver)
            if self._begin is not None:
                return self._begin(request, request.driver)
            reply = self._handler(request) if self._responder is None else self._responder.respond(request)
            if type(reply) is self._response and type((<Answer>reply).body) is bytes and (<Answer>reply).close is None:
                return reply
            return self._checked(request, reply)
        except BaseException as error:  # SystemExit too: one request does not stop a server
            return self._response_to_error(request, error)

    cdef bint _put(self, Buffers buffers, Head request, object reply, double now) except -1:
        """Put a whole response behind those that are there. Return False where it is not common."""
        cdef bytes timing = b""
        if self._shows_times:
            timing = request.times.field()
        cdef Py_ssize_t size = self._serializer.put(
            buffers.unsent + buffers.used, buffers.method, buffers.minor, buffers.persists, reply, timing, now
        )
        buffers.used += size
        return size > 0

    # A response in pieces

    cdef Given _give(
        self, FastState state, Buffers buffers, Head request, object stream, Py_ssize_t at, double started, double now
    ) except *:
        """Send a response in pieces; those that were made without a wait together, and the last with its end, which is
        left in the buffer. The first was made between `started` and `now`."""
        cdef double until = now + PROMPT, waited
        cdef Py_ssize_t moved = 0, size
        cdef object piece = stream.first
        cdef bytes unsent = None
        if type(piece) is not bytes or not self._put_head(buffers, <Answer?>stream.response, now):
            self._last = now
            return UNCOMMON
        buffers.stream, buffers.sent = stream, 0
        while type(piece) is bytes and state.is_idle:
            size = PyBytes_GET_SIZE(<bytes>piece)
            if size > buffers.left:
                break
            unsent = self._add_piece(state, buffers, <bytes>piece, self._pulls is not None and now - started < QUICK)
            buffers.left -= size
            buffers.sent += size
            moved += size + STEP
            if unsent is not None or moved >= TURN or now >= until:
                piece = b""  # that piece is on its way
                break
            started = _now()
            piece = self._pull(state, buffers, request, stream, at, now)
            waited, now = started - now, _now()
            self._counters.called(waited, now - started)
        self._last = now
        buffers.stream = None
        if piece is _COMPLETE and state.is_idle and _is_done(buffers, <Answer?>stream.response):
            if buffers.chunked:
                buffers.used = put_last_chunk(buffers.unsent + buffers.used) - buffers.unsent
            return WHOLE
        _report_sent(buffers, stream)
        if unsent is None:
            unsent = PyBytes_FromStringAndSize(buffers.unsent, buffers.used)
        self._counters.at[REQUESTS] += 1
        self._fall_back(state, unsent, (_with_line(buffers, request), (stream, piece)), buffers.rest(at), now)
        return HANDED_ON

    cdef bint _put_head(self, Buffers buffers, Answer answer, double now) except -1:
        """Put the head of a response in pieces, and note how it goes out. Return False where it cannot be sent."""
        cdef bytes head
        buffers.used = 0
        if buffers.minor == 1 and buffers.method != "HEAD":
            buffers.used = self._serializer.put_head(buffers.unsent, 1, buffers.persists, answer, CHUNKED, b"", now)
        if buffers.used:
            buffers.most, buffers.chunked, buffers.stays_open = _ENDLESS, True, buffers.persists
        else:
            lines = self._serializer.date(now), self._serializer.server
            try:
                planned = plan(_line(buffers), answer, None, buffers.persists, *lines)
            except Exception:  # raised again by the connection, which sends this response
                return False
            head, buffers.most, buffers.chunked, buffers.stays_open = planned
            if PyBytes_GET_SIZE(head) > FULL:
                return False
            buffers.used = put_bytes(buffers.unsent, head) - buffers.unsent
        buffers.left = buffers.most
        return True

    cdef bytes _add_piece(self, FastState state, Buffers buffers, bytes piece, bint is_held):
        """Add a piece to what is in the buffer, and send all unless it `is_held`. Return what _send does."""
        cdef char* to = buffers.unsent + buffers.used
        cdef bytes text
        if PyBytes_GET_SIZE(piece) <= SMALL - MOST_FRAME:
            to = put_chunk(to, piece) if buffers.chunked else put_bytes(to, piece)
            buffers.used = to - buffers.unsent
            if is_held and buffers.used < FULL:
                return None
            text = self._send(state, buffers) if buffers.used else None
        else:
            text = PyBytes_FromStringAndSize(NULL, buffers.used + PyBytes_GET_SIZE(piece) + MOST_FRAME)
            to = PyBytes_AS_STRING(text)
            memcpy(to, buffers.unsent, buffers.used)
            to += buffers.used
            to = put_chunk(to, piece) if buffers.chunked else put_bytes(to, piece)
            text = self._send_text(state, PyBytes_AS_STRING(text), to - PyBytes_AS_STRING(text), False)
        buffers.used = 0
        return text

    cdef object _pull(self, FastState state, Buffers buffers, Head request, object stream, Py_ssize_t at, double now):
        """Return the next piece, or how the body has ended: a call of its own."""
        cdef long number
        cdef bint is_over = not buffers.left
        if self._pulls is None:
            return _next_of(stream, is_over)
        buffers.state, buffers.request, buffers.now = state, request, now
        buffers.at, buffers.count = at, 0
        number = self._pulls.begin()  # from here on as in _claim_and_call()
        piece = _next_of(stream, is_over)
        if not self._pulls.end(number):
            self._answer_late(piece, stream)
            raise LoopMoved
        buffers.state = buffers.request = None
        return piece

    def flush(self):
        """Send what is held of a response, while its next piece is made in the loop's thread. Called in any other.

        That thread cannot go on meanwhile: nothing here gives up the GIL."""
        cdef Buffers buffers = self._buffers
        cdef Py_ssize_t size
        if buffers.state is not None and buffers.stream is not None and buffers.used:
            size = self._sent(send(buffers.state.fd, buffers.unsent, buffers.used, MSG_NOSIGNAL))
            buffers.used -= size
            memmove(buffers.unsent, buffers.unsent + size, buffers.used)


cdef inline object _reply_to(HttpFastPath path, FastState state, Buffers buffers, Head request, Py_ssize_t at, Py_ssize_t count,
                             double ready_at, double* now):
    """Return the result of the call of a request, or of none if it is refused; set `now` to the time after it.

    at, count  the bytes of `text` that were read, and the exchanges before it that are not reported
    """
    cdef object reply
    cdef double started = now[0]
    if path._late and path._refuses(ready_at, started, True):
        return path._refusal
    if path._ownership is None:
        reply = path._run(state, request)
    else:
        buffers.state, buffers.request, buffers.now = state, request, started
        buffers.at, buffers.count = at, count
        reply = path._claim_and_call(buffers)
    path._last = now[0] = _now()
    path._counters.called(started - ready_at, now[0] - started)
    if now[0] - ready_at > path._long_turn:
        path._lasts(now[0] - ready_at, now[0])
    return reply


cdef object _next_of(stream, bint is_over):
    """Do what PulledBody.step() does, with less of Python for a piece of bytes."""
    try:
        piece = _NONE_LEFT if is_over else next(stream.pieces, _NONE_LEFT)
        if type(piece) is bytes:
            return piece
        if piece is _NONE_LEFT:
            return stream.over()
        piece = stream.checked(piece)
        if type(piece) is EndOfBody:
            stream.close()
        return piece
    except BaseException as error:
        return stream.over(error)


cdef inline int _report_sent(Buffers buffers, stream) except -1:
    """Report to a PulledBody how it goes out, and what of it has."""
    stream.most, stream.chunked, stream.persists, stream.sent = buffers.most, buffers.chunked, buffers.stays_open, buffers.sent
    return 0


cdef inline bint _is_done(Buffers buffers, Answer answer) except -1:
    """Return whether all was sent that the head promises, and nothing but the last chunk is to follow."""
    if buffers.stays_open != buffers.persists or (buffers.chunked and answer.trailers):
        return False
    return not buffers.left or buffers.most == _ENDLESS


cdef class Work(WatchedSlots):
    """A call that runs in another thread (connection.base.Work)."""

    cdef HttpFastPath _path
    cdef FastState _state
    cdef Head _request

    def __call__(self):
        return self._path._call(self._request)

    @property
    def is_awaited(self):
        """Does somebody wait for its result? As Exchange.is_awaited: that has the request once the loop needs it."""
        state = self._state
        has_call = state.handed_off is not None or (state.conn is not None and state.conn.phase is CALLED)
        return has_call and not state.disconnected(both=True)

    @property
    def name(self):
        return title(self._request)

    def forget(self, reply):
        """Close what is open: as HandlerCall.forget."""
        self._path._forget(reply, self._request)
        self._request.drop()


cdef inline Work _work(HttpFastPath path, FastState state, Head request):
    cdef Work work = Work.__new__(Work)
    work._path, work._state, work._request = path, state, request
    return work


cdef inline Py_ssize_t _put_held(FastState state, Buffers buffers) noexcept:
    """Put what is held of a request where the rest of it is to be received. Return the size."""
    if state.held is None:
        return 0
    memcpy(buffers.received, PyBytes_AS_STRING(state.held), PyBytes_GET_SIZE(state.held))
    return PyBytes_GET_SIZE(state.held)


cdef inline tuple _with_line(Buffers buffers, Head request):
    """Return the request and its line, as endpoint.Taken."""
    return request, _line(buffers)


cdef inline tuple _line(Buffers buffers):
    return buffers.method, buffers.target, "2.0" if buffers.minor == MINOR_OF_2 else version_of(buffers.minor)

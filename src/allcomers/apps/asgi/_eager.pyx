# cython: language_level=3, boundscheck=False, wraparound=False
"""The common call of an ASGI app, in C: its response is whole in its first step, or comes whole after a wait.

The plain Python of `http.HttpCall` and `scope` is the specification. An EagerCall has the receive() and send() of the
app until that does what is not common: more pieces than are sent as one, trailers, hints, an exception. From then on an
HttpCall goes on for it, from the messages that have come so far (`eager.eager_calls`). While the app waits the fast path
has the request; where its connection is needed, that gets the request and the HttpCall (`hand_over`).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy
from cpython.list cimport PyList_AsTuple
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memchr

from allcomers.protocol._response cimport Answer, is_bare
from allcomers.protocol._bytes cimport Bytes, decimal, is_word
from allcomers.protocol._fields cimport scope_headers
from allcomers.protocol._head cimport FieldLines, Head, Starter
from allcomers.protocol._raw cimport PyUnicode_1BYTE_DATA, PyUnicode_GET_LENGTH, new_object

from allcomers.apps.asgi.scope import add_tls

cdef extern from "Python.h":
    object PyContext_Copy(object)

cdef tuple _NOTHING = ()

cdef str _TYPE = "type"
cdef str _START = "http.response.start"
cdef str _BODY = "http.response.body"


# ---------------------------------------------------------------- awaitables of what is there

cdef class Done:
    """An awaitable of what is there already (PEP 492): `await` goes on at once. A Coroutine as collections.abc has it,
    for asyncio makes a task of nothing else."""

    cdef object _value

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self._value is None:  # the common case makes no exception object
            raise StopIteration
        raise StopIteration(self._value)

    def send(self, value):
        return self.__next__()

    def throw(self, kind, value=None, traceback=None):
        raise kind if value is None else value

    def close(self):
        pass


cdef Done _NONE = Done.__new__(Done)


cdef inline Done _done(value):
    cdef Done done = Done.__new__(Done)
    done._value = value
    return done


# ---------------------------------------------------------------- one call

cdef enum State:
    NEW, STARTED, STREAMING, WHOLE

cdef enum:
    MOST = 16 * 1024  # bytes of pieces that are sent as one: _serializer.SMALL
    IN_A_ROW = 31  # pieces: with the next, the event loop has its turn (http.IN_A_ROW)


cdef class EagerCall:
    """receive() and send() for one call of the app.

    successor  the HttpCall that goes on for it; None while it is common
    _waits     is its first step over, its response to come, and its request with the fast path?
    """

    cdef EagerCalls _calls
    cdef Head _request
    cdef object _asker
    cdef object _scope
    cdef object successor
    cdef State _state
    cdef bint _received, _waits
    cdef object _task  # from the end of its first step to its own
    cdef object _status
    cdef bytes _body
    cdef tuple _fields  # but for Content-Length
    cdef bytes _block
    cdef tuple _headers
    cdef long long _length
    cdef list _pieces  # while STREAMING, and then; else None
    cdef Py_ssize_t _size  # of them

    def receive(self):
        """Return a message, as HttpCall.receive does."""
        if self.successor is None and self._state != WHOLE and not self._received:
            self._received = True
            content = self._request.content
            return _done({"type": "http.request", "body": b"" if content is None else content, "more_body": False})
        return self._slow_call().receive()

    def send(self, message):
        """Send a message, as HttpCall.send does."""
        if self.successor is None and type(message) is dict and self._accepts(<dict>message):
            if self._waits:
                self._pass_on()
            return _NONE
        if self.successor is not None and type(message) is dict:
            pushed = self._push(<dict>message)
            if pushed is not None:
                return pushed
        return self._slow_call().send(message)

    cdef object _push(self, dict message):
        """Send a piece of a response that has begun, as HttpCall.send does after a wait. Return what is to be awaited;
        None, without an effect, where that is not common."""
        cdef object call = self.successor, response = call.response, turns = self._calls.turns, body, taken
        if self._calls.turns is None or message.get(_TYPE) != _BODY or not message.get("more_body", False):
            return None
        body = message.get("body", b"")
        if type(body) is not bytes or not body or response.state is not self._calls.streaming or response.is_sending:
            return None
        if call._gone or call._half is not None or call._first is not None or call.in_a_row >= IN_A_ROW:
            return None
        if response._held or turns.holds(response) or response._sent + PyBytes_GET_SIZE(body) >= response._most:
            return None
        taken = self._asker.push(body)
        if not taken:
            return None
        turns.begin(response)
        response._sent += PyBytes_GET_SIZE(body)
        if taken == 1:
            call.in_a_row += 1
            return _NONE
        response.is_sending = True
        self._asker.driver.said(b"")  # the rest is the connection's to send
        return call._sent()

    cdef int _pass_on(self) except -1:
        """Send the response, behind a wait; where only its head is known, have that sent soon."""
        if self._state == WHOLE:
            self._waits = False
            self._calls.late_heads.discard(self)
            self._asker.said(self._response())
        else:
            self._calls.late_heads.add(self)
        return 0

    def send_head(self):
        """Send the head, as HttpCall.send_head does."""
        self._slow_call().send_head()

    def hand_over(self):
        """Return the HttpCall that goes on for it: the connection has the request from here on."""
        self._waits = False
        self._slow_call().adopt(None, None)
        self.successor.task = self._task
        return self.successor

    cdef int _wait(self, task) except -1:
        """Go on, now that the first step is over: see _waits."""
        self._task = task
        self._waits = True
        if self._state == STARTED:
            self._calls.late_heads.add(self)
        return 0

    def over(self, task):
        """End, with the app's task."""
        self._calls.runtime.over(task)
        self._task = None
        if self.successor is not None or self._state != WHOLE or not _succeeded(task):
            self._slow_call().adopt(task, None)

    cdef bint _accepts(self, dict message) except -1:
        """Note a common message. Return False for any other, of which nothing is noted."""
        cdef object kind = message.get(_TYPE), body
        if self._state == NEW and kind == _START:
            return self._accepts_start(message)
        if self._state != STARTED and self._state != STREAMING or kind != _BODY:
            return False
        body = message.get("body", b"")
        if type(body) is not bytes:
            return False
        if message.get("more_body", False):
            return self._accepts_piece(<bytes>body)
        if self._length >= 0 and self._length != self._size + PyBytes_GET_SIZE(body):
            return False
        if self._state == STARTED:
            self._body = <bytes>body
        else:
            self._pieces.append(body)
            self._body = b"".join(self._pieces)
        self._state = WHOLE
        return True

    cdef bint _accepts_piece(self, bytes piece) except -1:
        """Note a piece that more follows, as ResponseWriter.hold() does."""
        cdef Py_ssize_t size = self._size + PyBytes_GET_SIZE(piece)
        if self._pieces is None:
            if self._waits or not self._calls.gathers or self._request.method == "HEAD":
                return False
            self._pieces = []
        if size > MOST or (self._length >= 0 and size >= self._length) or len(self._pieces) >= IN_A_ROW:
            return False
        self._pieces.append(piece)
        self._size = size
        self._state = STREAMING
        return True

    cdef bint _accepts_start(self, dict message) except -1:
        cdef list fields
        cdef object pair, known
        headers = message.get("headers", _NOTHING)
        status = message.get("status")
        if type(status) is not int or not 200 <= status <= 999 or is_bare(status) or message.get("trailers", False):
            return False
        if type(headers) is not list and type(headers) is not tuple:
            return False
        fields = []
        self._length = -1
        for pair in headers:
            if not _is_pair(pair):
                return False
            if PyBytes_GET_SIZE(<object>PyTuple_GET_ITEM(pair, 0)) == 14 and _is_length(<object>PyTuple_GET_ITEM(pair, 0)):
                if self._length >= 0:
                    return False
                self._length = _number(<object>PyTuple_GET_ITEM(pair, 1))
                if self._length < 0:
                    return False
            else:
                fields.append(pair)
        self._fields = PyList_AsTuple(fields)
        known = self._calls.known(self._fields)
        if known is None:
            return False
        self._block, self._headers = <tuple>known
        self._status = status
        self._state = STARTED
        return True

    cdef object _slow_call(self):
        if self._waits:
            self._asker.sync()  # which calls hand_over()
        if self.successor is None:
            start = None if self._state == NEW else self._start()
            self.successor = self._calls.make(
                self._request, self._asker, self._scope, start, self._received, self._state == WHOLE,
                self._pieces if self._state == STREAMING else None
            )
        return self.successor

    cdef dict _start(self):
        """Return the first message as it was: the app may have changed its own since."""
        cdef tuple fields = self._fields
        if self._length >= 0:
            fields += ((b"content-length", b"%d" % self._length),)
        return {"type": _START, "status": self._status, "headers": fields}

    cdef object _response(self):
        cdef Answer response = new_object(self._calls.response)
        response.body = self._body
        response.status = self._status
        response.headers = list(self._headers)
        response.trailers = _NOTHING
        response.block = self._block
        response.encoded = self._headers
        return response if self._pieces is None or self._length >= 0 else self._calls.gathered(response)


cdef inline bint _is_pair(pair):
    return (
        type(pair) is tuple
        and PyTuple_GET_SIZE(pair) == 2
        and type(<object>PyTuple_GET_ITEM(pair, 0)) is bytes
        and type(<object>PyTuple_GET_ITEM(pair, 1)) is bytes
    )


cdef inline bint _is_length(bytes name):
    return is_word(<Bytes>PyBytes_AS_STRING(name), 14, b"content-length", 14)


cdef inline long long _number(bytes text):
    """Return a decimal number of at most 18 digits; -1 for any other text."""
    return decimal(<Bytes>PyBytes_AS_STRING(text), 0, PyBytes_GET_SIZE(text))


# ---------------------------------------------------------------- all calls of one app

cdef class EagerCalls(Starter):
    """Start a call with a request and its asker: to its whole response, to (an HttpCall, its first output), or to an
    EagerCall whose app waits.

    runtime    the AsgiRuntime, with its `app`, `events` and `context`
    make       (request, asker, scope, http.response.start or None, whether the body is delivered, whether the response
               is whole, a list of pieces of its body, which are not sent, or None) to an HttpCall
    gathers    are pieces sent as one? Then `gathered` makes a StreamingBody of a response
    waits      does an EagerCall go on behind its first step? Then it is returned itself
    streaming  the state of a ResponseWriter that has begun
    coroutine  makes a coroutine of an awaitable that is no `coroutine_type`
    common     the part of a scope that all requests share; `root` is its root_path
    encode     fields as bytes to (their block, fields as a Response has them); None for those that are not common;
               `blocks` has results
    otherwise  does the same as this for a request that is not common
    """

    cdef object _app, _events, _task, _context, _coroutine, _coroutine_type, _encode, _otherwise
    cdef object make
    cdef object response
    cdef object gathered
    cdef object runtime, late_heads, turns, streaming
    cdef bint gathers, _waits
    cdef dict _common, _blocks
    cdef str _root

    def __init__(self, *, runtime, app, events, task, context, make, coroutine, coroutine_type, dict common not None,
                 str root not None, encode, dict blocks not None, otherwise, response, bint gathers, gathered, bint waits, streaming):
        if not issubclass(response, Answer):
            raise TypeError("response: a subclass of Answer is needed")
        self.runtime = runtime
        self._app = app
        self._events = events
        self._task = task
        self._context = context
        self.make = make
        self._coroutine = coroutine
        self._coroutine_type = coroutine_type
        self._common = common
        self._root = root
        self._encode = encode
        self._blocks = blocks
        self._otherwise = otherwise
        self.response = response
        self.gathers = gathers
        self.gathered = gathered
        self._waits = waits
        self.late_heads = runtime.late_heads
        self.turns = runtime.turns if waits else None  # others do not send what the app gives
        self.streaming = streaming

    cdef object known(self, tuple fields):
        known = self._blocks.get(fields)
        return self._encode(fields) if known is None else known

    def __call__(self, Head request not None, asker):
        return self.start(request, asker)

    cdef object start(self, Head request, asker):
        cdef EagerCall call
        cdef object coroutine, task
        if request.read is None or ((request.length or request.chunked) and request.content is None) or self.runtime.limit is not None:
            return self._otherwise(request, asker)
        call = EagerCall.__new__(EagerCall)
        call._calls = self
        call._request = request
        call._asker = asker
        call._scope = self._scope_of(request)
        call._length = -1
        try:
            coroutine = self._app(call._scope, call.receive, call.send)
            if type(coroutine) is not self._coroutine_type:
                coroutine = self._coroutine(coroutine)
            task = self._task(coroutine, loop=self._events, eager_start=True, context=PyContext_Copy(self._context))
        except BaseException as error:  # SystemExit too, which a task lets through
            return self._go_on(call, None, error)
        if call._state == WHOLE and call.successor is None and _succeeded(task):
            return call._response()
        if self._waits and call.successor is None and call._state < STREAMING and not task.done():
            self.runtime.watch(task, True, call.over)
            call._wait(task)
            return call
        return self._go_on(call, task, None)

    cdef object _go_on(self, EagerCall call, task, error):
        cdef bint is_whole = call._state == WHOLE
        http_call = call._slow_call()
        output = http_call.adopt(task, error)
        if is_whole:
            return call._response()
        return http_call, output

    cdef dict _scope_of(self, Head request):
        """Return the scope, as scope.http_scope does."""
        cdef FieldLines lines = request.read
        cdef str target = request.target
        cdef const char* at = PyUnicode_1BYTE_DATA(target)
        cdef Py_ssize_t size = PyUnicode_GET_LENGTH(target), path = size
        cdef const char* mark = <const char*>memchr(at, c'?', size)
        cdef dict scope = PyDict_Copy(self._common), state
        if mark is not NULL:
            path = mark - at
            scope["query_string"] = PyBytes_FromStringAndSize(mark + 1, size - path - 1)
        scope["raw_path"] = PyBytes_FromStringAndSize(at, path)
        if memchr(at, c'%', path) is NULL:
            text = target if mark is NULL else PyUnicode_DecodeASCII(at, path, NULL)
        else:
            from urllib.parse import unquote  # late, as in message.py

            text = unquote(PyUnicode_DecodeASCII(at, path, NULL))
        scope["path"] = self._root + text if self._root else text
        scope["method"] = request.method
        if request.minor != 1:
            scope["http_version"] = request.version
        if request.scheme != "http":
            scope["scheme"] = request.scheme
        scope["asgi"] = PyDict_Copy(scope["asgi"])
        scope["extensions"] = {name: {} for name in <dict>scope["extensions"]}
        if request.tls is not None:
            add_tls(scope, request.tls)
        if lines.kept:
            if lines.headers is None:
                lines.headers = scope_headers(lines.lines)
            scope["headers"] = lines.headers[:]
        else:
            scope["headers"] = scope_headers(lines.lines)
        scope["client"] = (request.peer, request.port) if request.peer else None
        scope["server"] = request.server
        state = self.runtime.state
        if state is not None:
            scope["state"] = state.copy()
        return scope


cdef inline bint _succeeded(task):
    return task.done() and not task.cancelled() and task.exception() is None

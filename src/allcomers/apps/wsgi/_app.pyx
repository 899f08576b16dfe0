# cython: language_level=3, boundscheck=False, wraparound=False
"""The common call of a WSGI app, in C. The plain Python of `app`, `environ` and `start_response` is the specification.

Common is a request whose head the leaf has read, and no chunks that it has not; an app that calls start_response once, with headers
that were checked before; and a response that is a list of one block, as long as its Content-Length, an iterator, or a small file.
Anything else is left to the plain Python: before the call, or with the result of the call.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy
from cpython.object cimport PyObject
from cpython.list cimport PyList_AsTuple, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memchr
from posix.stat cimport S_ISREG, fstat, struct_stat
from posix.unistd cimport pread

from allcomers.protocol._response cimport Answer, is_bare, put_decimal
from allcomers.protocol._bytes cimport Bytes, decimal
from allcomers.protocol._fields cimport add_to_environ
from allcomers.protocol._head cimport FieldLines, Head, Responder
from allcomers.protocol._raw cimport (
    PyContext_CopyCurrent,
    PyContext_Enter,
    PyContext_Exit,
    PyUnicode_1BYTE_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_IS_ASCII,
    new_object,
)

from functools import partial
from io import BufferedReader, FileIO
from itertools import chain
from types import GeneratorType

from allcomers.apps.wsgi.environ import tls_variables
from allcomers.protocol.message import SMALL

cdef extern from "Python.h":
    bint PyIter_Check(object)
    Py_ssize_t Py_REFCNT(PyObject*)

cdef tuple _NOTHING = ()
cdef object _END = object()
cdef long long _small = SMALL


# ---------------------------------------------------------------- start_response

cdef enum:
    PLAIN = 0  # as start_response._PLAIN and _LENGTH are numbered
    LENGTH = 1

cdef dict _statuses, _kinds, _blocks


def use_memory(dict statuses not None, dict kinds not None, dict blocks not None):
    """Use the memory of the plain Python: of statuses, of names of headers, and of whole lists of headers."""
    global _statuses, _kinds, _blocks
    _statuses, _kinds, _blocks = statuses, kinds, blocks


cdef class StartResponseState:
    """The slots of `start_response.StartResponse`; called, it is start_response."""

    cdef public object status
    cdef public object length
    cdef public bint sent
    cdef public object written
    cdef public object request
    cdef public object pushed
    cdef list _fields
    cdef bytes block  # `_fields` encoded, which are `encoded`; None where start() has set them
    cdef tuple encoded
    cdef long long size

    def __cinit__(self):
        self.status = 0
        self.size = -1

    @property
    def fields(self):
        if self._fields is None:
            self._fields = []
        return self._fields

    @fields.setter
    def fields(self, list fields):
        self._fields = fields
        self.block = self.encoded = None

    def __call__(self, status, headers, exc_info=None):
        if exc_info is None and self._common(status, headers):
            return self.write
        return self.start(status, headers, exc_info)

    cdef bint _common(self, status, headers) except -1:
        """Note status and headers; return False, without an effect, where they are new or to be refused."""
        global _last
        cdef list fields
        cdef long long size = -1
        cdef Py_ssize_t at
        cdef object pair, name, known, block
        cdef tuple encoded
        cdef int kind
        cdef bint are_constants
        if type(headers) is not list or type(status) is not str or self.status is not 0:
            return False
        number = _statuses.get(status)
        if number is None:
            return False
        if _last is not None and _last.holds(<list>headers):
            self._note(number, list(_last.encoded), _last.block, _last.encoded, _last.size)
            return True
        fields = []
        are_constants = True
        for at in range(PyList_GET_SIZE(headers)):
            are_constants = are_constants and Py_REFCNT(PyList_GET_ITEM(headers, at)) > 1  # nobody but this list has others
            pair = <object>PyList_GET_ITEM(headers, at)
            if type(pair) is not tuple or PyTuple_GET_SIZE(pair) != 2:
                return False
            name = <object>PyTuple_GET_ITEM(pair, 0)
            if type(name) is not str:
                return False
            known = _kinds.get(name)
            if known is None:
                return False
            kind = known
            if kind == PLAIN:
                fields.append(pair)
            elif kind == LENGTH and size < 0:
                size = _number(<object>PyTuple_GET_ITEM(pair, 1))
                if size < 0:
                    return False
            else:
                return False
        try:
            encoded = PyList_AsTuple(fields)
            block = _blocks.get(encoded)
        except TypeError:  # anything without a hash is no header
            return False
        if block is None:
            return False
        if are_constants:
            _last = _known(PyList_AsTuple(<list>headers), encoded, block, size)
        self._note(number, fields, block, encoded, size)
        return True

    cdef inline int _note(self, number, list fields, bytes block, tuple encoded, long long size) except -1:
        self.status = number
        self._fields = fields
        self.block, self.encoded = block, encoded
        self.size = size
        if size >= 0:
            self.length = size
        return 0


cdef class Known:
    """Headers that were checked, and what was made of them.

    PERF: those of an app that has them as constants are the same objects in each call: 700 of 26,000 instructions less
    (bench instructions).
    """

    cdef tuple headers, encoded
    cdef bytes block
    cdef long long size

    cdef bint holds(self, list headers) noexcept:
        """Return whether these are the same objects."""
        cdef Py_ssize_t at, size = PyTuple_GET_SIZE(self.headers)
        if PyList_GET_SIZE(headers) != size:
            return False
        for at in range(size):
            if PyList_GET_ITEM(headers, at) != PyTuple_GET_ITEM(self.headers, at):
                return False
        return True


cdef Known _last = None  # of the last response


cdef inline Known _known(tuple headers, tuple encoded, bytes block, long long size):
    cdef Known known = Known.__new__(Known)
    known.headers, known.encoded, known.block, known.size = headers, encoded, block, size
    return known


cdef inline long long _number(object text):
    """Return a decimal number of at most 18 digits; -1 for anything else."""
    if type(text) is not str or not PyUnicode_IS_ASCII(text):
        return -1
    return decimal(<Bytes>PyUnicode_1BYTE_DATA(text), 0, PyUnicode_GET_LENGTH(text))


# ---------------------------------------------------------------- the client

@cython.freelist(64)
cdef class Disconnected:
    """Request.disconnected() of one request, with no method made for it before it is called."""

    cdef object _driver

    def __call__(self):
        return self._driver is not None and self._driver.disconnected()


cdef inline Disconnected _disconnected(driver):
    cdef Disconnected disconnected = Disconnected.__new__(Disconnected)
    disconnected._driver = driver
    return disconnected


# ---------------------------------------------------------------- a result in pieces

cdef class Blocks:
    """The blocks of an app's iterator, each made in the context of its request."""

    cdef object _context, _iterator, _first

    def __iter__(self):
        return self

    def __next__(self):
        cdef object block = self._first
        if block is not None:
            self._first = None
            return block
        PyContext_Enter(self._context)
        try:
            block = next(self._iterator, _END)
        finally:
            PyContext_Exit(self._context)
        if block is _END:
            raise StopIteration
        return block


# ---------------------------------------------------------------- the call

cdef class Common(Responder):
    """A Handler: the common call of an `app.Wsgi`, which handles any other.

    app, templates      the Wsgi's; `templates` is None where an environ needs more than that
    state, response     StartResponse and Response
    keys, key_of        those of apps.wsgi.environ
    stream              the class of an empty wsgi.input
    files               FileWrapper
    iterate, first, first_pieces  those of app.py
    """

    cdef object _wsgi, _app, _state_class, _response, _key_of, _stream, _files, _iterate, _first, _first_pieces
    cdef dict _templates, _keys
    cdef tuple _server  # of the last request, and its template
    cdef dict _template

    def __init__(self, wsgi, app, dict templates, state, response, dict keys not None, key_of, stream, files,
                 iterate, first, first_pieces):
        if not issubclass(state, StartResponseState) or not issubclass(response, Answer):
            raise TypeError("these classes have no slots of ours")
        self._wsgi = wsgi
        self._app = app
        self._templates = templates
        self._state_class = state
        self._response = response
        self._keys = keys
        self._key_of = key_of
        self._stream = stream
        self._files = files
        self._iterate = iterate
        self._first = first
        self._first_pieces = first_pieces

    def __call__(self, Head request not None):
        return self.respond(request)

    cdef object respond(self, Head request):
        cdef StartResponseState state
        cdef dict environ
        cdef object context, result
        if request.read is None or (request.chunked and request.content is None) or self._templates is None or not request.peer:
            return self._wsgi(request)
        environ = self._environ(request)
        if environ is None:
            return self._wsgi(request)
        state = new_object(self._state_class)
        state.request = request
        context = PyContext_CopyCurrent()
        PyContext_Enter(context)
        try:
            result = self._app(environ, state)
        except BaseException:
            self._wsgi.give_up(request, state)
            raise
        finally:
            PyContext_Exit(context)
        if type(result) is list and PyList_GET_SIZE(result) == 1 and state.block is not None and state.written is None and state.pushed is None:
            body = <object>PyList_GET_ITEM(result, 0)
            if type(body) is bytes and _fits(request, state, PyBytes_GET_SIZE(body)):
                return self._whole(state, body)
        elif type(result) is self._files and state.block is not None and state.written is None and state.pushed is None:
            body = _small_file(result)
            if body is not None and _fits(request, state, PyBytes_GET_SIZE(body)):
                return self._whole_file(request, state, result, body)
        elif PyIter_Check(result) and type(result) is not self._files and state.written is None and state.pushed is None:
            return self._in_pieces(request, state, result, context)
        return self._wsgi.respond(request, state, result, context.run)

    cdef object _whole(self, StartResponseState state, body):
        cdef Answer response = new_object(self._response)
        response.body = body
        response.status = state.status
        response.headers = state._fields
        response.trailers = _NOTHING
        response.block = state.block
        response.encoded = state.encoded
        return response

    cdef object _whole_file(self, Head request, StartResponseState state, result, body):
        """Return the response with a file that was read, which is closed here: that runs no code of the app."""
        try:
            result.close()
        except BaseException:
            self._wsgi.give_up(request, state)
            raise
        return self._whole(state, body)

    cdef object _in_pieces(self, Head request, StartResponseState state, result, context):
        """Return the response of an iterator, as Wsgi.respond() does."""
        cdef object close = None, run = context.run, app_close, first, pieces, rest
        cdef Blocks blocks = Blocks.__new__(Blocks)
        try:
            app_close = getattr(result, "close", None)
            if app_close is not None:
                close = partial(run, app_close)
            blocks._context = context
            blocks._iterator = result if type(result) is GeneratorType else run(self._iterate, result)
            first = next(blocks, _END)
            if first is _END:
                first = b""
            elif type(first) is not bytes or not first:
                first = self._first(chain((first,), blocks))
            if state.block is not None and state.size < 0 and first and state.written is None and state.pushed is None:
                state.sent = True
                blocks._first = first
                response = self._whole(state, blocks)
                response.close = close
                return response
            pieces, rest = self._first_pieces(state, first, blocks)
        except BaseException:
            self._wsgi.give_up(request, state, close)
            raise
        return self._wsgi.begin(request, state, pieces, rest, close)

    cdef dict _environ(self, Head request):
        """Return the environ as environ.Environs; None for a target that needs decoding."""
        cdef FieldLines lines = request.read
        cdef str target = request.target
        cdef const char* at = PyUnicode_1BYTE_DATA(target)
        cdef Py_ssize_t size = PyUnicode_GET_LENGTH(target), path = size
        cdef const char* mark = <const char*>memchr(at, c'?', size)
        cdef dict environ, template = self._template
        if request.server is not self._server:
            template = self._templates.get(request.server)
            self._server, self._template = request.server, template
        if mark is not NULL:
            path = mark - at
        if memchr(at, c'%', path) is not NULL:
            return None
        if template is None:  # the first request at this listener
            self._server = None
            return None
        if lines.template is template:
            environ = PyDict_Copy(lines.environ)
        else:
            environ = PyDict_Copy(template)
            add_to_environ(environ, lines.lines, self._keys, self._key_of)
            if lines.kept:
                lines.environ = PyDict_Copy(environ)
                lines.template = template
        if request.method != "GET":  # PERF: else the template has it: 250 of 25,600 instructions (bench instructions)
            environ["REQUEST_METHOD"] = request.method
        environ["REQUEST_URI"] = environ["RAW_URI"] = target
        if mark is NULL:
            environ["PATH_INFO"] = target
        else:
            environ["PATH_INFO"] = PyUnicode_DecodeASCII(at, path, NULL)
            environ["QUERY_STRING"] = PyUnicode_DecodeASCII(mark + 1, size - path - 1, NULL)
        if request.minor != 1:
            environ["SERVER_PROTOCOL"] = "HTTP/" + request.version
        environ["REMOTE_ADDR"] = request.peer
        if request.port:
            environ["REMOTE_PORT"] = _decimal(request.port)
        if request.scheme != "http":
            environ["wsgi.url_scheme"] = request.scheme
            if request.scheme == "https":
                environ["HTTPS"] = "on"
        if request.tls is not None:
            environ.update(tls_variables(request.tls))
        environ["allcomers.disconnected"] = _disconnected(request.driver)
        if request.chunked:
            environ["CONTENT_LENGTH"] = str(PyBytes_GET_SIZE(request.content))
        is_empty = request.length is None and not request.chunked
        environ["wsgi.input"] = new_object(self._stream) if is_empty else request.stream
        return environ


cdef bytes _small_file(wrapper):
    """Return the rest of a small file of Python's own, as FileSlice.whole(); None, without an effect, for any other."""
    cdef object file = wrapper._file
    cdef struct_stat status
    cdef long long at, count, got
    cdef int fd
    cdef bytes data
    cdef char* to
    if type(file) is not BufferedReader or not wrapper.closes_file:
        return None
    try:
        if type(file.raw) is not FileIO:
            return None
        fd, at = file.fileno(), file.tell()
    except (OSError, ValueError):  # which the plain Python meets again
        return None
    if fstat(fd, &status) != 0 or not S_ISREG(status.st_mode):
        return None
    count = status.st_size - at
    if not 0 < count <= _small:
        return None
    data = PyBytes_FromStringAndSize(NULL, count)
    to = PyBytes_AS_STRING(data)
    with nogil:
        got = pread(fd, to, count, at)
    return data if got == count else None


cdef inline str _decimal(int number):
    """Return str() of a number that is not negative."""
    cdef char digits[20]
    return PyUnicode_DecodeASCII(digits, put_decimal(digits, number) - digits, NULL)


cdef inline bint _fits(Head request, StartResponseState state, Py_ssize_t size):
    """Return True for a body as long as its Content-Length, in a response that may have one."""
    status = state.status
    return (state.size < 0 or state.size == size) and type(status) is int and not is_bare(status) and request.method != "HEAD"

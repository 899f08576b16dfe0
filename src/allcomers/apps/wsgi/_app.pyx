# cython: language_level=3, boundscheck=False, wraparound=False
"""The common call of a WSGI app, in C. The plain Python of `wsgi`, `environ` and `start_response` is the specification.

Common is a request whose head the leaf has read, and no chunks; an app that calls start_response once, with headers
that were checked before; and an answer that is a list of one block, as long as its Content-Length says. For anything
else the plain Python is asked: before the call, or with what the call has returned.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy
from cpython.list cimport PyList_AsTuple, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memchr

from allcomers.protocol._response cimport Answer
from allcomers.protocol._bytes cimport Bytes, decimal
from allcomers.protocol._fields cimport add_to_environ
from allcomers.protocol._head cimport FieldLines, Head
from allcomers.protocol._raw cimport (
    PyContext_CopyCurrent,
    PyContext_Enter,
    PyContext_Exit,
    PyUnicode_1BYTE_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_IS_ASCII,
    new_object,
)

cdef tuple _NOTHING = ()


# ---------------------------------------------------------------- what an app says of its answer

cdef enum:
    PLAIN = 0  # as start_response._PLAIN and _LENGTH are numbered
    LENGTH = 1

cdef dict _statuses, _kinds, _blocks


def remembered(dict statuses not None, dict kinds not None, dict blocks not None):
    """What the plain Python remembers of statuses, of names of headers, and of whole lists of headers."""
    global _statuses, _kinds, _blocks
    _statuses, _kinds, _blocks = statuses, kinds, blocks


cdef class StartResponseState:
    """The slots of `start_response.StartResponse`; called, it is start_response."""

    cdef public object status
    cdef public list fields
    cdef public object length
    cdef public bint sent
    cdef public object written
    cdef public object request
    cdef public object pushed
    cdef bytes block
    cdef long long size

    def __cinit__(self):
        self.status = 0
        self.fields = []
        self.size = -1

    def __call__(self, status, headers, exc_info=None):
        if exc_info is None and self._common(status, headers):
            return self.write
        return self.start(status, headers, exc_info)

    cdef bint _common(self, status, headers) except -1:
        """False, and nothing is said, where it is the first such answer or is to be refused."""
        cdef list fields
        cdef long long size = -1
        cdef Py_ssize_t at
        cdef object pair, name, kind, block
        if type(headers) is not list or type(status) is not str or self.status is not 0:
            return False
        number = _statuses.get(status)
        if number is None:
            return False
        fields = []
        for at in range(PyList_GET_SIZE(headers)):
            pair = <object>PyList_GET_ITEM(headers, at)
            if type(pair) is not tuple or PyTuple_GET_SIZE(pair) != 2:
                return False
            name = <object>PyTuple_GET_ITEM(pair, 0)
            if type(name) is not str:
                return False
            kind = _kinds.get(name)
            if kind is None:
                return False
            if kind == PLAIN:
                fields.append(pair)
            elif kind == LENGTH and size < 0:
                size = _number(<object>PyTuple_GET_ITEM(pair, 1))
                if size < 0:
                    return False
            else:
                return False
        try:
            block = _blocks.get(PyList_AsTuple(fields))
        except TypeError:  # what cannot be looked up is no header
            return False
        if block is None:
            return False
        self.status = number
        self.fields = fields
        self.block = block
        self.size = size
        if size >= 0:
            self.length = size
        return True


cdef inline long long _number(object text):
    """A decimal number of at most 18 digits; -1 for what is none."""
    if type(text) is not str or not PyUnicode_IS_ASCII(text):
        return -1
    return decimal(<Bytes>PyUnicode_1BYTE_DATA(text), 0, PyUnicode_GET_LENGTH(text))


# ---------------------------------------------------------------- the call

cdef class Common:
    """A Handler: the common call of a `wsgi.Wsgi`, which is asked for any other.

    app, templates      the Wsgi's; `templates` is None where an environ needs more than that
    said, response      the classes of what an app says, and of its answer
    keys, key_of        handlers.environ's
    stream              makes an empty wsgi.input
    """

    cdef object _wsgi, _app, _said, _response, _key_of, _stream
    cdef dict _templates, _keys

    def __init__(self, wsgi, app, dict templates, said, response, dict keys not None, key_of, stream):
        if not issubclass(said, StartResponseState) or not issubclass(response, Answer):
            raise TypeError("these classes have no slots of ours")
        self._wsgi = wsgi
        self._app = app
        self._templates = templates
        self._said = said
        self._response = response
        self._keys = keys
        self._key_of = key_of
        self._stream = stream

    def __call__(self, Head request not None):
        cdef StartResponseState said
        cdef dict environ
        cdef object context, result
        if request.read is None or request.chunked or self._templates is None or not request.peer:
            return self._wsgi(request)
        environ = self._environ(request)
        if environ is None:
            return self._wsgi(request)
        said = new_object(self._said)
        said.request = request
        context = PyContext_CopyCurrent()
        PyContext_Enter(context)
        try:
            result = self._app(environ, said)
        except BaseException:
            self._wsgi.give_up(request, said)
            raise
        finally:
            PyContext_Exit(context)
        if type(result) is list and PyList_GET_SIZE(result) == 1 and said.block is not None and said.written is None and said.pushed is None:
            body = <object>PyList_GET_ITEM(result, 0)
            if type(body) is bytes and _fits(request, said, PyBytes_GET_SIZE(body)):
                return self._whole(said, body)
        return self._wsgi.answer(request, said, result, context.run)

    cdef object _whole(self, StartResponseState said, bytes body):
        cdef Answer answer = new_object(self._response)
        answer.body = body
        answer.status = said.status
        answer.headers = said.fields
        answer.trailers = _NOTHING
        answer.block = said.block
        answer.fields = PyList_GET_SIZE(said.fields)
        return answer

    cdef dict _environ(self, Head request):
        """As environ.Environs has it; None for a target that needs decoding."""
        cdef FieldLines lines = request.read
        cdef str target = request.target
        cdef const char* at = PyUnicode_1BYTE_DATA(target)
        cdef Py_ssize_t size = PyUnicode_GET_LENGTH(target), path = size
        cdef const char* mark = <const char*>memchr(at, c'?', size)
        cdef dict environ, template = self._templates.get(request.server)
        if mark is not NULL:
            path = mark - at
        if memchr(at, c'%', path) is not NULL:
            return None
        if template is None:  # the first that came to this address
            return None
        if lines.template is template:
            environ = PyDict_Copy(lines.environ)
        else:
            environ = PyDict_Copy(template)
            add_to_environ(environ, lines.lines, self._keys, self._key_of)
            if lines.kept:
                lines.environ = PyDict_Copy(environ)
                lines.template = template
        environ["REQUEST_METHOD"] = request.method
        environ["REQUEST_URI"] = environ["RAW_URI"] = target
        if mark is NULL:
            environ["PATH_INFO"] = target
        else:
            environ["PATH_INFO"] = PyUnicode_DecodeASCII(at, path, NULL)
            environ["QUERY_STRING"] = PyUnicode_DecodeASCII(mark + 1, size - path - 1, NULL)
        if request.minor == 0:
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        environ["REMOTE_ADDR"] = request.peer
        if request.port:
            environ["REMOTE_PORT"] = str(request.port)
        if request.scheme != "http":
            environ["wsgi.url_scheme"] = request.scheme
            if request.scheme == "https":
                environ["HTTPS"] = "on"
        environ["wsgi.input"] = self._stream() if request.length is None else request.stream
        return environ


cdef inline bint _fits(Head request, StartResponseState said, Py_ssize_t size):
    """Is it an answer of the length that was said, to a request whose answer has a body?"""
    status = said.status
    return (said.size < 0 or said.size == size) and type(status) is int and status != 204 and status != 304 and request.method != "HEAD"

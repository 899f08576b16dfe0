# cython: language_level=3
"""The time of one request, in C. The plain Python of `timing.Times` is the specification."""

from cpython.bytes cimport PyBytes_FromStringAndSize

cdef extern from "<stdio.h>" nogil:
    int snprintf(char*, size_t, const char*, ...)


cdef class Times:
    cdef object _clock
    cdef double _due, _started, _since, _app

    def __init__(self, clock):
        self._clock = clock
        self._due = clock()

    def __enter__(self):
        self._since = self._clock()
        self._started = self._started or self._since

    def __exit__(self, *_):
        self.end(self._clock())

    cpdef end(self, double now):
        cdef double since = self._since
        self._since = 0.0
        if since:
            self._app += max(0.0, now - since)

    @property
    def due(self):
        return self._due

    @property
    def wait(self):
        return (self._started or <double>self._clock()) - self._due

    @property
    def app(self):
        if self._since:
            return self._app + (<double>self._clock() - self._since)
        return self._app

    def field(self):
        cdef char line[200]
        cdef double wait = self.wait, app = self.app
        cdef int size = snprintf(line, sizeof(line), b"Server-Timing: wait;dur=%.3f, app;dur=%.3f\r\n", wait * 1e3, app * 1e3)
        if not 0 < size < <int>sizeof(line):
            raise OverflowError("no request takes so long")
        return PyBytes_FromStringAndSize(line, size)

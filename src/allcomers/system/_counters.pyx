# cython: language_level=3, boundscheck=False, wraparound=False
"""A row of the live figures, written in C. The plain Python of counters.py is the specification, and explains the slots."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
cimport cython
from libc.stdint cimport uint64_t

cdef enum:  # the slots of counters.py, where they are explained
    SIZE = 1024 * 8
    ANSWERED = 9
    CALLS = 18
    APP_TIME = 19
    WAIT_TIME = 20
    TURNS = 23
    BUSY_TIME = 24
    RESPONSE_TIME = 27
    LAG = 48
    LAGS = 32
    STATUSES = 80
    TIMES = 592
    BUCKETS = 432


cdef inline uint64_t _nanoseconds(double seconds) noexcept:
    return <uint64_t>(seconds * 1e9) if 0 < seconds < 1e9 else 0


cdef inline int _bits(uint64_t value) noexcept:
    """Return bit_length() of a number."""
    cdef int count = 0
    while value:
        value >>= 1
        count += 1
    return count


cdef inline int _bucket(uint64_t time) noexcept:
    cdef uint64_t value = time >> 6
    cdef int exponent = _bits(value) - 5
    if exponent <= 0:
        return <int>value
    return min(BUCKETS - 1, 16 * exponent + <int>(value >> exponent))


# Left out of the cyclic collector: it would clear `_view` without releasing it, and before Python 3.13 it clears the
# memoryview first, which raises BufferError while `_view` is exported. No object that a row holds leads back to it.
@cython.no_gc
cdef class CounterRow:
    """The same as counters.PlainCounterRow. `at` is the row, for code that counts in C."""

    def __cinit__(self):
        self.at = NULL

    def __init__(self, cells=None):
        self.cells = memoryview(bytearray(SIZE)).cast("Q") if cells is None else cells

    def __dealloc__(self):
        if self.at is not NULL:
            PyBuffer_Release(&self._view)

    @property
    def cells(self):
        return self._cells

    @cells.setter
    def cells(self, cells):
        cdef Py_buffer view
        PyObject_GetBuffer(cells, &view, PyBUF_WRITABLE)
        if view.len < SIZE:
            PyBuffer_Release(&view)
            raise ValueError("a row has 1,024 numbers of 8 bytes")
        if self.at is not NULL:
            PyBuffer_Release(&self._view)
        self._cells = cells
        self._view = view
        self.at = <uint64_t*>view.buf

    @property
    def answers(self):
        cdef uint64_t count = 0
        cdef int at
        for at in range(ANSWERED, ANSWERED + 6):
            count += self.at[at]
        return count

    def add(self, unsigned int slot, uint64_t count=1):
        if slot >= LAG:
            raise IndexError("no slot that can be added to")
        self.at[slot] += count

    cpdef void answered(self, unsigned int status, double seconds) noexcept:
        cdef uint64_t time = _nanoseconds(seconds)
        self.at[ANSWERED + (status // 100 if status < 600 else 0)] += 1
        if 400 <= status < 600:
            self.at[STATUSES + status - 400] += 1
        self.at[RESPONSE_TIME] += time
        self.at[TIMES + _bucket(time)] += 1

    cpdef void called(self, double wait, double app, uint64_t count=1) noexcept:
        self.at[CALLS] += count
        self.at[WAIT_TIME] += _nanoseconds(wait)
        self.at[APP_TIME] += _nanoseconds(app)

    def loop_turn(self, double seconds):
        cdef uint64_t time = _nanoseconds(seconds)
        self.at[TURNS] += 1
        self.at[BUSY_TIME] += time
        self.at[LAG + min(LAGS - 1, _bits(time >> 10))] += 1

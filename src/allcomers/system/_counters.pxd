"""The declarations of _counters.pyx, for other compiled parts."""

from libc.stdint cimport uint64_t

cdef enum:
    REQUESTS = 8
    BYTES_IN = 16
    BYTES_OUT = 17
    MEMORY_FULL = 42


cdef class CounterRow:
    cdef object _cells
    cdef Py_buffer _view
    cdef uint64_t* at

    cpdef void answered(self, unsigned int status, double seconds) noexcept
    cpdef void called(self, double wait, double app, uint64_t count=*) noexcept

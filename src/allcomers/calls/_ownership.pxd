"""What compiled code that runs calls knows of a ownership."""

cdef class Ownership:
    cdef public long started_count
    cdef public bint dozing
    cdef public bint inline
    cdef public object flush
    cdef object _ring
    cdef long _running

    cpdef long begin(self) except -1
    cpdef bint end(self, long number) noexcept
    cpdef bint take(self) noexcept

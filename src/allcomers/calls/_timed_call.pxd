"""The declarations of _timed_call.pyx, for other compiled parts."""


cdef class WatchedSlots:
    cdef public double began
    cdef public unsigned long thread


cdef class RunningSlots:
    cdef readonly dict calls
    cdef public bint is_idle
    cdef public object ring
    cdef int add(self, call) except -1
    cdef bint remove(self, call) except -1


cdef object watch(RunningSlots running, WatchedSlots call, work, bint* is_in_time)

# cython: language_level=3, boundscheck=False, wraparound=False
"""A call under a time limit, in C: the steps of each call. The plain Python of `watchdog` and `time_limit` is the
specification; no step is interrupted, since none gives up the GIL before its effect."""

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from allcomers.connection.call import FAILED
from allcomers.system.faults import report

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()


cdef class WatchedSlots:
    """The slots of a `watchdog.WatchedCall`."""


cdef class RunningSlots:
    """The same as `watchdog.RunningSlots`."""

    def __cinit__(self):
        self.calls = {}
        self.is_idle = True

    def begin(self, call):
        self.add(call)

    def end(self, call):
        return self.remove(call)

    cdef int add(self, call) except -1:
        cdef timespec time
        clock_gettime(CLOCK_MONOTONIC, &time)
        cdef double now = time.tv_sec + time.tv_nsec * 1e-9
        if isinstance(call, WatchedSlots):
            (<WatchedSlots>call).began = now
        else:
            call.began = now
        self.calls[call] = None
        if self.is_idle:
            self.ring()
        return 0

    cdef bint remove(self, call) except -1:
        return self.calls.pop(call, self) is None


cdef object watch(RunningSlots running, WatchedSlots call, work, bint* is_in_time):
    """Run `work` in this thread, as `call`. Return its result, and whether it was there in time."""
    call.thread = PyThread_get_thread_ident()
    running.add(call)
    try:
        reply = work()
    except BaseException as error:
        report(error, "a call raised")
        reply = FAILED
    is_in_time[0] = running.remove(call)
    return reply


cdef class TimedSlots(WatchedSlots):
    """The slots of a `watchdog.TimedCall`; called, it runs the call."""

    cdef public object work, done
    cdef public bint is_unlimited
    cdef RunningSlots _running
    cdef object _too_late

    def __init__(self, work, done, RunningSlots running not None, too_late):
        self.work = work
        self.done = done
        self._running = running
        self._too_late = too_late

    def __call__(self):
        cdef bint is_in_time
        cdef object reply = watch(self._running, self, self.work, &is_in_time)
        if is_in_time or self.is_unlimited:
            return reply
        return self._too_late(self, reply)

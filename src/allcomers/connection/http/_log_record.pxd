"""The declarations of _log_record.pyx, for other compiled parts."""


cdef class RecordSlots:
    cdef public object head, request_line, status, headers, close
    cdef public long long sent
    cdef public str peer, line, stamp
    cdef public double started, seconds, when, wait, app, write
    cdef void fill(self, head, tuple request_line, status, long long sent, double started, headers, close) noexcept


cdef class LogSlots:
    cdef public int _fd
    cdef public bint _cut
    cdef public object _line
    cdef public tuple _second
    cdef bint put(self, RecordSlots record) except -1


cdef class Finisher:
    cdef object _endpoint, _log, _wall, _lost
    cdef int finish_one(self, RecordSlots record, str peer, double now) except -1

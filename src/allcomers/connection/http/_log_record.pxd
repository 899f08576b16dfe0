"""The declarations of _log_record.pyx, for other compiled parts."""


cdef class RecordSlots:
    cdef public object head, request_line, status, sent, headers, close
    cdef public str peer, line, stamp
    cdef public double started, seconds, when, wait, app, write
    cdef void fill(self, head, tuple request_line, status, sent, double started, headers, close) noexcept

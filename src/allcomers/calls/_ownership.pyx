# cython: language_level=3
"""ownership.Ownership in C: no step is interrupted, since none gives up the GIL before its effect."""


cdef class Ownership:
    def __init__(self, ring):
        self.started_count = 0
        self.dozing = True
        self.inline = True
        self.flush = None
        self._ring = ring
        self._running = 0

    @property
    def runs(self):
        return self._running != 0

    def flush_held(self):
        if self._running != 0 and self.flush is not None:
            self.flush()

    cpdef long begin(self) except -1:
        cdef long number = self.started_count + 1
        self.started_count = self._running = number
        if self.dozing:
            self._ring()  # gives up the GIL: the loop may have moved on when it returns, and begun other calls
        return number

    cpdef bint end(self, long number) noexcept:
        if self._running != number:
            return False
        self._running = 0
        return True

    cpdef bint take(self) noexcept:
        if self._running == 0:
            return False
        self._running = 0
        return True

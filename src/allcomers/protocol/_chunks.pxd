"""The declarations of _chunks.pyx, for other compiled parts."""

cdef bytes whole_body(const char* text, Py_ssize_t size, Py_ssize_t most, Py_ssize_t* read)

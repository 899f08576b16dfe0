"""The functions of field lines that other parts of the compiled leaf call."""

from allcomers.protocol._bytes cimport Bytes

cpdef list scope_headers(bytes lines)
cpdef add_to_environ(dict environ, bytes lines, dict keys, key_of)

cdef enum:
    MOST_WANTED = 8

cdef struct Value:
    Bytes at  # NULL for a field that is not there, whose size is 0
    Py_ssize_t size

cdef struct Wanted:  # a name, in lower case
    const char* at
    Py_ssize_t size

cdef bint last_values(bytes lines, Wanted* names, int count, Value* values) noexcept

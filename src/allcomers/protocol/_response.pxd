"""The parts of a response that other parts of the compiled leaf use."""


cdef class Answer:
    cdef public object body
    cdef public object status
    cdef public object headers
    cdef public object trailers
    cdef public object close
    cdef bytes block
    cdef Py_ssize_t fields

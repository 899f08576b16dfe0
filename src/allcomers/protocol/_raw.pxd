"""Functions of CPython that Cython does not declare."""

from cpython.object cimport PyObject

cdef extern from *:
    """
    static inline PyObject *allcomers_new(PyObject *kind)
    {
        PyObject *nothing = PyTuple_New(0), *made; /* always the same one */
        if (nothing == NULL) return NULL;
        made = ((PyTypeObject *)kind)->tp_new((PyTypeObject *)kind, nothing, NULL);
        Py_DECREF(nothing);
        return made;
    }
    """
    object new_object "allcomers_new" (object kind)  # an object of this class, without its __init__

cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1
    const char* PyUnicode_1BYTE_DATA "(const char *)PyUnicode_1BYTE_DATA" (object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    bint PyUnicode_IS_ASCII(object)

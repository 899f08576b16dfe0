"""Bytes as the compiled leaf reads them. Every pointer has its end beside it."""

ctypedef const unsigned char* Bytes


cdef inline unsigned char lower(unsigned char byte) noexcept nogil:
    return byte + 32 if c'A' <= byte <= c'Z' else byte


cdef inline bint is_word(Bytes at, Py_ssize_t size, const char* word, Py_ssize_t expected) noexcept nogil:
    """Return True if these bytes are `word`, which is in lower case, in any case."""
    cdef Py_ssize_t i
    if size != expected:
        return False
    for i in range(size):
        if lower(at[i]) != <unsigned char>word[i]:
            return False
    return True


cdef inline long long decimal(Bytes at, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Return a number of at most 18 digits; -1 for anything else."""
    cdef long long number = 0
    if begin >= end or end - begin > 18:
        return -1
    while begin < end:
        if not c'0' <= at[begin] <= c'9':
            return -1
        number = number * 10 + (at[begin] - c'0')
        begin += 1
    return number


cdef inline Py_ssize_t trimmed(Bytes at, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Return the end without the blanks before it."""
    while end > begin and (at[end - 1] == c' ' or at[end - 1] == c'\t'):
        end -= 1
    return end

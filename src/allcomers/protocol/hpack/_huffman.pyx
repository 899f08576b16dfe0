# cython: language_level=3, boundscheck=False, wraparound=False
"""The Huffman code of header strings, decoded in C. The plain Python of `huffman` is the specification."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    SHORTEST = 5
    LONGEST = 30
    SYMBOLS = 257
    EOS = 256
    RANGES = LONGEST - SHORTEST + 1

cdef struct Range:  # of the codes of one length
    uint32_t end  # the first code of a longer one, with zeros behind it to 30 bits
    uint32_t first
    int length
    int place  # of its first symbol in _symbols

cdef Range _ranges[RANGES]
cdef int _count = 0
cdef int _symbols[SYMBOLS]


def set_up(list ranges not None):
    """Take the code: for each length (its first code, the length, bits behind it, symbols), as huffman has them."""
    global _count
    cdef int place = 0
    cdef Range* made
    if len(ranges) > RANGES or sum([len(symbols) for _, _, _, symbols in ranges]) != SYMBOLS:
        raise ValueError("this is no code for 257 symbols")
    _count = 0
    for first, length, behind, symbols in ranges:
        made = &_ranges[_count]
        made.first = first
        made.end = first + (len(symbols) << behind)
        made.length = length
        made.place = place
        for symbol in symbols:
            _symbols[place] = symbol
            place += 1
        _count += 1


def decode(bytes data not None):
    """Return the string that `data` encodes; None for one that huffman.decode() refuses."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), at, made = 0
    cdef const unsigned char* coded = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef bytes decoded = PyBytes_FromStringAndSize(NULL, size * 8 // SHORTEST)  # as much as the shortest codes give
    cdef unsigned char* to = <unsigned char*>PyBytes_AS_STRING(decoded)
    cdef uint64_t held = 0
    cdef uint32_t window
    cdef int bits = 0, which, symbol
    cdef Range* found
    if _count == 0:
        raise ValueError("no code was set up")
    for at in range(size):
        held = held << 8 | coded[at]
        bits += 8
        while bits >= SHORTEST:
            window = <uint32_t>(held << (LONGEST - bits) if bits <= LONGEST else held >> (bits - LONGEST))
            which = 0
            while which < _count - 1 and window >= _ranges[which].end:
                which += 1
            found = &_ranges[which]
            if found.length > bits:
                break
            symbol = _symbols[found.place + ((window - found.first) >> (LONGEST - found.length))]
            if symbol == EOS:
                return None
            to[made] = <unsigned char>symbol
            made += 1
            bits -= found.length
            held &= (<uint64_t>1 << bits) - 1
    if bits > 7 or held != (<uint64_t>1 << bits) - 1:
        return None
    return decoded[:made]

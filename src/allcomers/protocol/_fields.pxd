"""What other parts of the compiled leaf make of field lines."""

cpdef list scope_headers(bytes lines)
cpdef add_to_environ(dict environ, bytes lines, dict keys, key_of)

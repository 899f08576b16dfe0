"""The functions of field lines that other parts of the compiled leaf call."""

cpdef list scope_headers(bytes lines)
cpdef add_to_environ(dict environ, bytes lines, dict keys, key_of)

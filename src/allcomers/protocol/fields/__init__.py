"""Values of header fields that have a syntax of their own."""

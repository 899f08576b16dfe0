"""How workers share connections."""

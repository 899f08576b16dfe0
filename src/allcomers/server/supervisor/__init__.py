"""The supervisor: it holds the listeners, starts workers, and replaces them."""

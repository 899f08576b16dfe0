"""Apps that tests serve."""

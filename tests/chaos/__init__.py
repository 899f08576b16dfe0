"""Chaos: all that peers, disks, kernels and operators do to a server, at once and by a seed; then the accounts."""

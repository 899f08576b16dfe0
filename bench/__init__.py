"""The cost and the endurance of allcomers, measured on loopback: `python -m bench --help` lists the benchmarks.

The machine is noisy, so a figure stands only as a ratio to something measured in the same round: the server
has one core, the load another, contenders take turns in shuffled order, and a report gives the median of
the rounds with its lowest and highest.
"""

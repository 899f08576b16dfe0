"""What allcomers costs and how it holds, measured on loopback: `python -m bench --help` lists the benchmarks.

The machine is noisy, so a figure stands only as a ratio to something measured in the same round: the server
has one core, the load another, contenders take turns in shuffled order, and what is told is the median of
the rounds with its lowest and highest.
"""

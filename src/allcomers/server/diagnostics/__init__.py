"""What a worker shows beside its figures: its last errors, its stacks now, and samples of them.

errors    keeps errors of the log on the error board
worker    starts that, and the thread that shows stacks, in a worker
stacks    the stacks of all threads, tasks and greenlets now, and samples of the threads' in a span
profiles  asks the workers, in the admin's process, and makes one file of samples
"""

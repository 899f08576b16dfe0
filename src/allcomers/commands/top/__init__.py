"""`allcomers top`: the live figures of a server in a terminal, requested from its --admin by another process.

source   requests the figures: /stats.json
screen   renders them
command  the command line, the keys, the update once a second
"""

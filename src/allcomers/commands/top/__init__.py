"""`allcomers top`: the live figures of a server in a terminal, asked of its --admin from another process.

ask      the figures, from /stats.json
screen   how they look
command  the command line, the keys, once a second
"""

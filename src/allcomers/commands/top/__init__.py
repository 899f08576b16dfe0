"""`allcomers top`: the live figures of a server in a terminal, requested from its --admin by another process.

source   requests the figures: /stats.json
view     the user's choices: page, window, order, place; what keys do
screen   renders them
command  the command line, the terminal, the update once a second
"""

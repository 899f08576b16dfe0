"""A server as a Python object.

server         Server and run(): what programs use
in_process     its sockets, and the model that runs in a thread of this process, or on its event loop
keywords       the keyword arguments, for type checkers and editors: made from the table of options
pytest_plugin  the fixture `allcomers_server`
"""

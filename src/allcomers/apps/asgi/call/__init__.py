"""The parts of one call of an ASGI app: its request's body, its response, its client's departure.

`http` and `websocket` above make a call of them. Nothing here knows the connection, the app or its task.
"""

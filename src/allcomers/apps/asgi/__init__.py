"""ASGI 3: async apps, their HTTP requests, WebSockets and lifespan (https://asgi.readthedocs.io/en/latest/specs/).

A package beside `handlers`, for an async app is no function from a request to a response: it talks with its client
while both go on. `http` and `websocket` are one such talk each, `lifespan` is the talk at the start and the end of a
worker, `scope` says what the app is told of a request, `runtime` is what all talks of a worker share.

Under asyncio and the pollers a talk is a task on the event loop that watches the sockets. Under the blocking models
`steps` runs it piece by piece on an event loop of the thread's own.
"""

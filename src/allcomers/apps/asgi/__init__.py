"""ASGI 3: async apps, their HTTP requests, WebSockets and lifespan (https://asgi.readthedocs.io/en/latest/specs/).

An async app is no function from a request to a response: it receives from its client and sends to it while both go on.
`http` and `websocket` are one call each, made of the parts in `call`; `lifespan` is the start and the end of a worker,
`scope` describes a request to the app, and `runtime` is what all calls of a worker share.

Under asyncio and the pollers a call is a task on the event loop that watches the sockets. Under the blocking models
`blocking` runs it piece by piece on an event loop of the thread's own. `eager` is the fast path of the common call.
"""

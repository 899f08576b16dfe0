"""gRPC over ASGI: a service with each of the four kinds of methods, without generated code.

A method is an async generator: messages in, messages out. They are texts here; protobuf's are
`SerializeToString()` and `FromString()` of a generated class, in place of encode() and decode().

    allcomers run examples/grpc_asgi.py:app
    python examples/grpc_client.py 127.0.0.1:8000
"""

import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

HEAD = struct.Struct(">BI")  # whether it is compressed, its length (gRPC over HTTP/2, "Length-Prefixed-Message")
LARGEST = 4 << 20

OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 0, 3, 8, 12


class Failed(Exception):
    """The call ends with this status (one of gRPC's) and message (ASCII)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


Messages = AsyncIterator[str]


async def hello(names: Messages) -> Messages:
    """One in, one out."""
    async for name in names:
        yield f"Hello, {name}!"


async def count(limits: Messages) -> Messages:
    """One in, many out."""
    async for limit in limits:
        if not limit.isdecimal() or len(limit) > 4:
            raise Failed(INVALID_ARGUMENT, "count to what?")
        for number in range(int(limit)):
            yield str(number)


async def join(words: Messages) -> Messages:
    """Many in, one out."""
    yield " ".join([word async for word in words])


async def shout(words: Messages) -> Messages:
    """Many in, each answered as it comes."""
    async for word in words:
        yield word.upper()


METHODS: dict[str, Callable[[Messages], Messages]] = {
    "/demo.Texts/Hello": hello,
    "/demo.Texts/Count": count,
    "/demo.Texts/Join": join,
    "/demo.Texts/Shout": shout,
}


async def messages(receive: Any) -> Messages:
    """Yield each message as soon as it is whole."""
    data, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        data, more = data + event["body"], event["more_body"]
        while len(data) >= HEAD.size:
            compressed, size = HEAD.unpack_from(data)
            if compressed:
                raise Failed(UNIMPLEMENTED, "no compression")
            if size > LARGEST:
                raise Failed(RESOURCE_EXHAUSTED, "the message is too large")
            if len(data) < HEAD.size + size:
                break
            yield data[HEAD.size : HEAD.size + size].decode()
            data = data[HEAD.size + size :]


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "no lifespan"
    headers = [(b"content-type", b"application/grpc")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    status, reason = OK, ""
    try:
        if scope["path"] not in METHODS:
            raise Failed(UNIMPLEMENTED, "there is no such method")
        async for answer in METHODS[scope["path"]](messages(receive)):
            body = answer.encode()
            body = HEAD.pack(0, len(body)) + body
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except Failed as failed:
        status, reason = failed.status, str(failed)
    except UnicodeDecodeError:
        status, reason = INVALID_ARGUMENT, "a message is not UTF-8"
    await send({"type": "http.response.body", "body": b""})
    trailers = [(b"grpc-status", b"%d" % status), (b"grpc-message", reason.encode())]
    await send({"type": "http.response.trailers", "headers": trailers})

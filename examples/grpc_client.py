"""The client of grpc_asgi.py, with the package grpcio: calls each method, and one that there is not."""

import sys
import threading
from collections.abc import Iterator

import grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    hello = channel.unary_unary("/demo.Texts/Hello", str.encode, bytes.decode)
    count = channel.unary_stream("/demo.Texts/Count", str.encode, bytes.decode)
    join = channel.stream_unary("/demo.Texts/Join", str.encode, bytes.decode)
    shout = channel.stream_stream("/demo.Texts/Shout", str.encode, bytes.decode)
    nothing = channel.unary_unary("/demo.Texts/Nothing", str.encode, bytes.decode)

    print(hello("Ada", timeout=30))
    print(*count("5", timeout=30))
    print(join(iter(["many", "become", "one"]), timeout=30))

    answered = threading.Semaphore()

    def words() -> Iterator[str]:
        for word in ("each", "in", "turn"):
            answered.acquire()  # the next word goes out when the answer to the last has come
            yield word

    for answer in shout(words(), timeout=30):
        print(answer)
        answered.release()

    for call in (lambda: nothing("?", timeout=30), lambda: list(count("x", timeout=30))):
        try:
            call()
        except grpc.RpcError as error:
            print(error.code().name, error.details())

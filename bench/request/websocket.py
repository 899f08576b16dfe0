"""Libraries for WebSocket frames, side by side: websockets, wsproto, and allcomers' own use of the first.

No socket and no event loop: frames of a client go in, the echo comes out. CPU time is the best of the rounds, per
message and both ways. Memory is Pss_Anon (see idle.py) per connection that has echoed one message of 1 KB, measured in
a process of its own. Import is the CPU time that it takes in a process that runs asyncio and reads HTTP. With deflate
each library does what it does by default; allcomers compresses only messages of 512 bytes or more, and keeps nothing
between two messages.
"""

import argparse
import gc
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable

from bench.support import harness, processes

Echo = Callable[[bytes], object]

KEY = b"\x12\x34\x56\x78"
TEXT, BINARY, PING = 1, 2, 9
ITEM = b'{"id":%d,"name":"item %d","price":%d.%02d},'
ITEMS = b"".join(ITEM % (i, i * 7919 % 1000, i * 31 % 977, i % 100) for i in range(2000))
CASES = {
    "text, 70 bytes": (TEXT, ITEMS[:70]),
    "text, 1 KB": (TEXT, ITEMS[:1024]),
    "binary, 64 KB": (BINARY, ITEMS[:65536].ljust(65536)),
}
MAX_SIZE = 16 << 20
IMPORTS = {
    "websockets": "websockets.protocol, websockets.extensions.permessage_deflate",
    "wsproto": "wsproto.connection",
    "allcomers": "allcomers.protocol.websocket.session",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=2000, help="connections held for the memory of each")


def run(args: argparse.Namespace) -> None:
    harness.pin(harness.SERVER_CORE)
    rows: list[list[str | float]] = []
    for title, (kind, payload) in CASES.items():
        for deflate in (False, True):
            costs = cost(frame(kind, payload, deflate), deflate, args.rounds)
            rows.append([f"µs, {title}{', deflate' * deflate}", *costs])
    pings = frame(PING, b"", False) * (65536 // 6)
    rows.append(
        ["ms, 64 KB of empty pings, until others have a turn", *(us / 1e3 for us in held_up(pings, args.rounds))]
    )
    for deflate in (False, True):
        kept = [memory(name, deflate, args.connections) for name in LIBRARIES]
        rows.append([f"KB, an idle connection{', deflate' * deflate}", *kept])
    rows.append(["ms, import", *(importing(name, args.rounds) for name in LIBRARIES)])
    harness.table(["", *LIBRARIES], [[row[0], *(f"{figure:.1f}" for figure in row[1:])] for row in rows])
    harness.save("websocket", {str(row[0]): dict(zip(LIBRARIES, row[1:], strict=True)) for row in rows})


# What a client says --------------------------------------------------------------------------------------


def frame(kind: int, payload: bytes, deflate: bool) -> bytes:
    """Return a message in one masked frame (RFC 6455, 5.2). Compressed, it refers to nothing before it: it can be
    repeated."""
    if deflate:
        deflater = zlib.compressobj(wbits=-12)
        payload = (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    size = len(payload)
    head = bytes([0x80 | 0x40 * deflate | kind])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    keys = (KEY * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return head + KEY + masked.to_bytes(size, "big")


# Who echoes it -------------------------------------------------------------------------------------------


def of_websockets(deflate: bool) -> Echo:
    from websockets.extensions.permessage_deflate import PerMessageDeflate
    from websockets.frames import Frame, Opcode
    from websockets.protocol import Protocol, Side

    protocol = Protocol(Side.SERVER, max_size=MAX_SIZE)
    if deflate:
        protocol.extensions = [PerMessageDeflate(False, False, 12, 12, {"memLevel": 5})]

    def echo(data: bytes) -> object:
        protocol.receive_data(data)
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.TEXT:
                protocol.send_text(str(event.data, "utf-8").encode())
            elif event.opcode is Opcode.BINARY:
                protocol.send_binary(event.data)
        return protocol.data_to_send()

    return echo


def of_wsproto(deflate: bool) -> Echo:
    try:
        from wsproto.connection import Connection, ConnectionType
        from wsproto.events import BytesMessage, Ping, TextMessage
        from wsproto.extensions import PerMessageDeflate
    except ImportError:
        raise harness.CannotMeasureError("wsproto is needed for the comparison: pip install wsproto") from None

    extension = PerMessageDeflate()
    if deflate:
        extension.accept("permessage-deflate")
    connection = Connection(ConnectionType.SERVER, [extension])

    def echo(data: bytes) -> object:
        connection.receive_data(data)
        sent = b""
        texts: list[str] = []
        pieces: list[bytes] = []
        for event in connection.events():
            if isinstance(event, TextMessage):
                texts.append(event.data)
                if event.message_finished:
                    sent += connection.send(TextMessage("".join(texts)))
            elif isinstance(event, BytesMessage):
                pieces.append(event.data)
                if event.message_finished:
                    sent += connection.send(BytesMessage(b"".join(pieces)))
            elif isinstance(event, Ping):
                sent += connection.send(event.response())
        return sent

    return echo


def of_allcomers(deflate: bool) -> Echo:
    from allcomers.protocol.websocket.handshake import Offer
    from allcomers.protocol.websocket.session import accept

    offer = Offer(b"dGhlIHNhbXBsZSBub25jZQ==", [], ["permessage-deflate"] * deflate)
    _, websocket = accept(offer, max_size=MAX_SIZE)

    def echo(data: bytes) -> object:
        for event in websocket.feed(data):
            if isinstance(event, str):
                websocket.text(event)
            elif isinstance(event, bytes):
                websocket.binary(event)
        return websocket.data_to_send()

    return echo


LIBRARIES: dict[str, Callable[[bool], Echo]] = {
    "websockets": of_websockets,
    "wsproto": of_wsproto,
    "allcomers": of_allcomers,
}


# What it costs -------------------------------------------------------------------------------------------


def cost(data: bytes, deflate: bool, rounds: int) -> list[float]:
    """Return µs of CPU for one message with each library, in turns: a busy machine affects all alike."""
    times = max(20, 400_000 // len(data))
    echoes = [make(deflate) for make in LIBRARIES.values()]
    return [
        min(column)
        for column in zip(*[[spent(echo, data, times) for echo in echoes] for _ in range(rounds)], strict=True)
    ]


def held_up(data: bytes, rounds: int) -> list[float]:
    """Return µs of CPU that one call takes with `data`, which is not repeated."""
    rows = [[spent(make(False), data, 1) for make in LIBRARIES.values()] for _ in range(rounds)]
    return [min(column) for column in zip(*rows, strict=True)]


def spent(echo: Echo, data: bytes, times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        echo(data)
    return (time.process_time() - started) / times * 1e6


def memory(name: str, deflate: bool, connections: int) -> float:
    """Return KB for each connection, measured by a process that holds them."""
    return float(alone(f"from bench.request.websocket import hold; hold({name!r}, {deflate}, {connections})"))


def hold(name: str, deflate: bool, connections: int) -> None:
    data = frame(TEXT, ITEMS[:1024], deflate)
    held = opened(name, deflate, 200, data)
    before = processes.anonymous_kib(os.getpid())
    held += opened(name, deflate, connections, data)
    print((processes.anonymous_kib(os.getpid()) - before) * 1.024 / connections)


def opened(name: str, deflate: bool, connections: int, data: bytes) -> list[Echo]:
    echoes = [LIBRARIES[name](deflate) for _ in range(connections)]
    for echo in echoes:
        echo(data)
    gc.collect()
    return echoes


def importing(name: str, rounds: int) -> float:
    """Return ms of CPU to import it into a server that runs."""
    before = "import asyncio, time, allcomers.connection.http.http1; t = time.process_time()"
    code = f"{before}; import {IMPORTS[name]}; print(time.process_time() - t)"
    return min(float(alone(code)) for _ in range(rounds)) * 1000


def alone(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=harness.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise harness.CannotMeasureError(done.stderr.strip()[-1500:])
    return done.stdout

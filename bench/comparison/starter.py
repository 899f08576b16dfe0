"""Start a peer that has no command line of its own for this: `python -m bench.comparison.starter PEER APP PORT [PEM]`.

Runs in the environment of the peers. Those that echo do so over plain TCP, with asyncio's loop or uvloop's, as a
protocol or with streams; APP is ignored then.
"""

import asyncio
import importlib
import sys
from typing import Any

HOST = "127.0.0.1"
BACKLOG, IDLE = 2048, 75


def bjoern(app: Any, port: int, pem: str | None) -> None:
    import bjoern

    bjoern.run(app, HOST, port, listen_backlog=BACKLOG)


def fastwsgi(app: Any, port: int, pem: str | None) -> None:
    import fastwsgi

    fastwsgi.server.backlog = BACKLOG
    fastwsgi.run(app, HOST, port, loglevel=0)


def socketify(app: Any, port: int, pem: str | None) -> None:
    from socketify import WSGI, AppListenOptions

    WSGI(app).listen(AppListenOptions(port=port, host=HOST), lambda config: None).run()


def cheroot(app: Any, port: int, pem: str | None, threads: int = 10) -> None:
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from cheroot.wsgi import Server

    server = Server((HOST, port), app, numthreads=threads, request_queue_size=BACKLOG, timeout=IDLE)
    if pem:
        server.ssl_adapter = BuiltinSSLAdapter(pem, pem)
    server.safe_start()


def cheroot_64(app: Any, port: int, pem: str | None) -> None:
    cheroot(app, port, pem, threads=64)


def pywsgi(app: Any, port: int, pem: str | None) -> None:
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer

    WSGIServer((HOST, port), app, backlog=BACKLOG, log=None).serve_forever()


# Echo ----------------------------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def protocol(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, HOST, port, backlog=BACKLOG)
    await server.serve_forever()


async def streams(port: int) -> None:
    server = await asyncio.start_server(echo, HOST, port, backlog=BACKLOG)
    await server.serve_forever()


def uvloop(serve: Any, port: int) -> None:
    import uvloop

    uvloop.run(serve(port))


ECHOES = {
    "asyncio_protocol": lambda port: asyncio.run(protocol(port)),
    "asyncio_streams": lambda port: asyncio.run(streams(port)),
    "uvloop_protocol": lambda port: uvloop(protocol, port),
    "uvloop_streams": lambda port: uvloop(streams, port),
}


def main(peer: str, app: str, port: str, pem: str | None = None) -> None:
    if peer in ECHOES:
        ECHOES[peer](int(port))
    else:
        globals()[peer](getattr(importlib.import_module("bench.comparison.served"), app), int(port), pem)


if __name__ == "__main__":
    main(*sys.argv[1:])

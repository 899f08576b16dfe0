"""A Site without a server around it, and the size from which sendfile pays: `python bench/request/site.py`.

Not a benchmark of the server: it backs the PERF comments of apps/static/. The best of five, so noise only adds.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
import timeit
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from allcomers.apps.static.site import Site
from allcomers.protocol.message import Request

BROWSER = [
    (b"Host", b"localhost:8000"),
    (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"Accept-Language", b"en-GB,en;q=0.9"),
    (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
    (b"Connection", b"keep-alive"),
    (b"Sec-Fetch-Dest", b"document"),
    (b"Sec-Fetch-Mode", b"navigate"),
    (b"Sec-Fetch-Site", b"none"),
    (b"Priority", b"u=0, i"),
]
HEAD = b"x" * 250


def cost(step: Callable[[], object], count: int = 20_000) -> float:
    """Return µs of one step."""
    return min(timeit.repeat(step, number=count, repeat=5)) / count * 1e6


def show(name: str, step: Callable[[], object]) -> None:
    print(f"{name:<48} {cost(step):6.2f} µs")


def make_site(root: Path) -> Site:
    (root / "static" / "css").mkdir(parents=True)
    for name, size in {"index.html": 1000, "static/css/app.css": 5000, "app.js": 5000, "video.mp4": 1_000_000}.items():
        (root / name).write_bytes(b"x" * size)
    (root / "app.js.br").write_bytes(b"x" * 500)
    (root / "link.html").symlink_to("index.html")
    return Site(root)


def ask(site: Site, target: str, fields: list[tuple[bytes, bytes]]) -> None:
    response = site(Request(method="GET", target=target, fields=fields))
    if response.close:
        response.close()


def answers(site: Site) -> None:
    show("Request and its headers alone", lambda: Request(method="GET", target="/", fields=BROWSER).headers)
    show("/, no fields", partial(ask, site, "/", []))
    tag = dict(site(Request(method="GET", target="/")).headers)["ETag"].encode()
    for name, target, *more in (
        ("/", "/"),
        ("/static/css/app.css", "/static/css/app.css"),
        ("/app.js with .br beside it", "/app.js"),
        ("/video.mp4", "/video.mp4"),
        ("/video.mp4, a range", "/video.mp4", (b"Range", b"bytes=1000-200000")),
        ("/, 304", "/", (b"If-None-Match", tag)),
        ("/link.html, a link", "/link.html"),
        ("/none, 404", "/none"),
    ):
        show(f"{name}, a browser's 10 fields", partial(ask, site, target, [*BROWSER, *more]))


def steps(root: Path) -> None:
    path = os.fsencode(root / "static" / "css" / "app.css")
    folder = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
    first = os.fsencode(root / "static")

    def walk() -> None:
        one = os.open(first, folder)
        two = os.open(b"css", folder, dir_fd=one)
        os.close(one)
        three = os.open(b"app.css", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=two)
        os.close(two)
        os.close(three)

    def look_after() -> None:
        opened = os.open(path, os.O_RDONLY)
        os.readlink(f"/proc/self/fd/{opened}")  # noqa: PTH115
        os.close(opened)

    show("a walk of three names", walk)
    show("open and readlink of /proc/self/fd", look_after)
    show("access of what is missing", lambda: os.access(path + b".br", os.F_OK))
    show("stat of what is missing", lambda: missing(path + b".br"))


def missing(path: bytes) -> None:
    with suppress(OSError):
        os.stat(path)  # noqa: PTH116


def crossover(root: Path) -> None:
    """Compare one send of head and file together with a send of the head (MSG_MORE) and a sendfile."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        reader, _ = listener.accept()
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not (child := os.fork()):
        sender.close()
        buffer = bytearray(1 << 20)
        while reader.recv_into(buffer):
            pass
        os._exit(0)
    reader.close()
    for kib in (1, 4, 8, 16, 32, 64, 256, 1024):
        size = kib * 1024
        (root / "part").write_bytes(os.urandom(size))
        file = os.open(root / "part", os.O_RDONLY)
        ways = partial(joined, sender, file, size), partial(sent_as_file, sender, file, size)
        one, two = (spent(way, max(50, 40_000 // kib)) for way in ways)
        print(f"{kib:5} KiB  joined {one[0]:7.1f} µs, CPU {one[1]:7.1f}   sendfile {two[0]:7.1f} µs, CPU {two[1]:7.1f}")
        os.close(file)
    sender.close()
    os.waitpid(child, 0)


def joined(sender: socket.socket, file: int, size: int) -> None:
    sender.sendall(HEAD + os.pread(file, size, 0))


def sent_as_file(sender: socket.socket, file: int, size: int) -> None:
    sender.send(HEAD, socket.MSG_MORE)
    offset = 0
    while offset < size:
        offset += os.sendfile(sender.fileno(), file, offset, size - offset)


def spent(way: Callable[[], None], count: int) -> tuple[float, float]:
    """Return µs of wall time and of this process's CPU time for one, each the best of five runs."""
    walls, cpus = [], []
    for _ in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            way()
        walls.append((time.perf_counter() - wall) / count * 1e6)
        cpus.append((time.process_time() - cpu) / count * 1e6)
    return min(walls), min(cpus)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        answers(make_site(here))
        steps(here)
        crossover(here)

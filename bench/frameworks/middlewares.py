"""The extensions of ASGI that popular middlewares support: a table of one × the other.

The most downloaded middlewares of PyPI are installed into an environment of their own, bench/out/middlewares, with
allcomers, which serves a file through each of them once for each extension (middleware_apps.py). The client's response
is compared with that for the same file without any extension:

    ok            the same
    500           an error instead
    empty, cut    a part of the body, or nothing
    not coded     the whole file, but the middleware's compression is left out
    lost          the file, but the trailers or hints are not there
"""

import argparse
import shutil
import socket
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

from bench.frameworks.middleware_apps import EXTENSIONS, NAMES
from bench.support import harness, installing
from bench.support.harness import Address, CannotMeasureError, Launch

PLACE = harness.OUT / "middlewares"
PACKAGES = (
    "starlette", "itsdangerous", "uvicorn", "sentry-sdk", "opentelemetry-instrumentation-asgi opentelemetry-sdk",
    "ddtrace", "python-socketio", "slowapi", "prometheus-fastapi-instrumentator", "hypercorn", "newrelic",
    "asgi-correlation-id", "secure", "starlette-context", "starlette-exporter", "elastic-apm", "timing-asgi",
    "asgi-logger", "starlette-compress", "brotli-asgi", "starsessions", "starlette-prometheus", "asgi-gzip",
)  # fmt: skip
QUIET = {
    "DD_TRACE_ENABLED": "true",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_TRACE_AGENT_URL": "unix:///nowhere",
}
"""None of them may look for a server of its maker."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reinstall", action="store_true", help="rebuild the environment")
    parser.add_argument("--middlewares", type=harness.names, default=list(NAMES), metavar="NAME,...")


def run(args: argparse.Namespace) -> None:
    python = environment(args.reinstall)
    target = f"{harness.HERE / 'frameworks' / 'middleware_apps.py'}:app"
    command = ["-m", "allcomers", "run", target, "-b", "127.0.0.1:0", "--asgi-pathsend", "--lifespan", "off"]
    variables = [f"{name}={value}" for name, value in QUIET.items()]
    rows = []
    with harness.serving(Launch(["env", *variables, str(python), *command])) as server:
        for name in args.middlewares:
            plain = ask(server.address, f"/{name}/body")
            rows.append([name, *(verdict(plain, ask(server.address, f"/{name}/{ext}"), ext) for ext in EXTENSIONS)])
    harness.table(["middleware", *EXTENSIONS], rows)
    harness.save("middlewares", rows)


def environment(anew: bool) -> Path:
    """Return the interpreter of an environment that has allcomers and each package that can be installed."""
    if anew:
        shutil.rmtree(PLACE, ignore_errors=True)
    python = PLACE / "bin" / "python"
    if not python.exists():
        installing.run([sys._base_executable, "-m", "venv", str(PLACE)])  # type: ignore[attr-defined]
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for package in (f"--editable {harness.ROOT}", *PACKAGES):
            print(f"installing {package}", flush=True)
            try:
                installing.run([*pip, *package.split()])
            except subprocess.SubprocessError as error:
                harness.warn(f"{package}: {installing.reason(error)}")
    return python


# What the client gets ------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """Return the interim heads, the final head, the body without chunks, and what came after that."""

    hints: list[bytes]
    head: bytes
    body: bytes
    trailers: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    @property
    def coding(self) -> bytes:
        return field(self.head, b"content-encoding")

    @property
    def file(self) -> bytes | None:
        """Return the decoded body; None if it is cut."""
        try:
            if self.coding == b"gzip":
                return zlib.decompress(self.body, 31)
            if self.coding == b"br":
                return brotli(self.body)
        except (zlib.error, CannotMeasureError):
            return None
        return self.body


def brotli(data: bytes) -> bytes:
    """Decode by the environment's own Python, which has the library; by this one if there is none yet."""
    python = PLACE / "bin" / "python"
    code = "import brotli, sys; sys.stdout.buffer.write(brotli.decompress(sys.stdin.buffer.read()))"
    command = [str(python) if python.exists() else sys.executable, "-c", code]
    done = subprocess.run(command, input=data, capture_output=True)
    if done.returncode:
        raise CannotMeasureError("the body is cut")
    return done.stdout


def field(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip()
    return b""


def ask(address: Address, path: str) -> Answer:
    coding = "br" if "brotli" in path else "gzip"
    lines = f"GET {path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(address, timeout=20) as sock:
        sock.sendall(lines.encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
    hints = []
    head, _, rest = data.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 1"):
        hints.append(head)
        head, _, rest = rest.partition(b"\r\n\r\n")
    if field(head, b"transfer-encoding") != b"chunked":
        return Answer(hints, head, rest, b"")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            break
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return Answer(hints, head, body, rest)


def verdict(plain: Answer, found: Answer, extension: str) -> str:
    if found.status == 501:
        return "-"
    if found.status != 200:
        return str(found.status)
    if found.file != (harness.HERE / "frameworks" / "middleware_apps.py").read_bytes():
        return "cut" if found.body else "empty"
    if found.coding != plain.coding:
        return "not coded"
    if (extension == "trailers" and b"x-sum" not in found.trailers) or (extension == "early_hint" and not found.hints):
        return "lost"
    return "ok"

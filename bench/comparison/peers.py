"""The servers under test: how each is installed, and started on a port for a workload.

All have one process that serves (a worker), no access log, room for all of the load's connections and 75 s for an idle
one; all other settings are their defaults. `threads` of a workload is the size of the pool of those that have one. For
`production` each has what it knows of three: an access log, into /dev/null; the proxy on 127.0.0.1 trusted; a time-out
of calls.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.comparison.served import FILES
from bench.comparison.workloads import CERTIFICATE, FILE_SIZES, Workload, file_of
from bench.support import harness, installing
from bench.support.harness import CannotMeasureError, Launch

HANDLERS = {"text": "Hello", "post": "Posted", "stream": "Pieces"}
BACKLOG = "2048"
MOST = "20000"  # connections, where a server has a limit of its own
IDLE = "75"  # seconds that a connection may be idle, as allcomers and nginx have it

Make = Callable[[Workload, int, str], list[str]]


def launch(name: str, workload: Workload) -> Launch:
    """Return how `name` is started for this workload. Raises CannotMeasureError if it is not available, with the
    reason."""
    if workload.tls and not CERTIFICATE.exists():
        raise CannotMeasureError("there is no certificate: openssl makes it (Debian: apt-get install openssl)")
    if name == "floor":
        return Launch(floor(workload))
    if name == "floor in Python":
        return Launch([sys.executable, str(harness.HERE / "floor/python_floor.py"), "echo"])
    if name.startswith("allcomers "):
        return allcomers(name.removeprefix("allcomers "), workload)
    if name == "nginx":
        return nginx(workload)
    peer = PEERS[name]
    starlette = ("starlette",) if name == "uvicorn" and workload.app == "file" else ()
    python = installing.python_with(peer.requires + starlette)
    port = harness.free_port()
    command = [str(python), *peer.make(workload, port, peer.prefix + workload.app)]
    return Launch([*TO_NOWHERE, *command] if workload.production else command, (HOST, port))


HOST = "127.0.0.1"
TO_NOWHERE = ("sh", "-c", f'exec "$@" >{os.devnull}', "sh")
"""Before a command: its standard output, where some write their access log, is thrown away."""


def floor(workload: Workload) -> list[str]:
    source, *arguments = workload.floor
    program = harness.compiled(source, *(("ssl", "crypto") if workload.tls else ()))
    places = {"@PEM": str(CERTIFICATE), "@FILES": str(FILES)}
    for mark, place in places.items():
        arguments = [argument.replace(mark, place) for argument in arguments]
    return [str(program), "0", *arguments]


def prepare() -> None:
    """Write the files that are served, and a certificate with its key."""
    for name in FILE_SIZES:
        path = FILES / "static" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file_of(name))
    if not CERTIFICATE.exists() and shutil.which("openssl"):
        make_certificate()


def make_certificate() -> None:
    """Write the key and then the certificate in one file."""
    key, made = (CERTIFICATE.with_suffix(f".{os.getpid()}.{part}") for part in ("key", "crt"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    where = ["-days", "3650", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*command, *where], check=True, capture_output=True, timeout=60)
    key.write_text(key.read_text() + made.read_text())
    made.unlink()
    key.replace(CERTIFICATE)


# allcomers -----------------------------------------------------------------------------------------------


PRODUCTION = ("--access-log", os.devnull, "--forwarded-allow-ips", HOST, "--call-timeout", "30")


def allcomers(kind: str, workload: Workload) -> Launch:
    more = ["--certfile", str(CERTIFICATE)] if workload.tls else []
    more += PRODUCTION if workload.production else ()
    more += ["--overload", "off"] if workload.http2 else []  # 640 requests at once wait long enough to be refused
    if kind == "site":
        return harness.allcomers("serve", str(FILES), "-m", "epoll", *more)
    if kind == "service":
        return harness.allcomers("run", "bench/support/apps.py:Echo", "-m", "epoll")
    if kind == "web":
        return harness.allcomers("run", f"bench/support/apps.py:{HANDLERS[workload.app]}", "-m", "epoll", *more)
    interface, _, how = kind.partition(" ")
    if interface == "asgi":
        started = harness.allcomers("run", f"bench/comparison/served.py:asgi_{workload.app}", "-m", "asyncio", *more)
        return without_uvloop(started) if how == "stdlib" else started
    if how == "gevent":
        return harness.allcomers("run", f"bench/comparison/served.py:{workload.app}", "-m", "gevent", *more)
    threads = ["-t", str(workload.threads)] if workload.threads and how else []
    calls = ["--calls", how or "inline", *threads]
    return harness.allcomers("run", f"bench/comparison/served.py:{workload.app}", "-m", "epoll", *calls, *more)


def without_uvloop(started: Launch) -> Launch:
    """Return the same, on the loop that is used if uvloop is not installed."""
    code = "import sys; sys.modules['uvloop'] = None; from allcomers.commands.main import main; sys.exit(main())"
    return Launch([sys.executable, "-c", code, *started.command[1:]])


# nginx ---------------------------------------------------------------------------------------------------


def nginx(workload: Workload, more: str = "") -> Launch:
    """Return nginx with one worker, and `more` of its directives; files by sendfile and open_file_cache, text by
    `return`."""
    what = 'return 200 "Hello, World!";'
    if workload.app == "file":
        what = f"root {FILES}; sendfile on; tcp_nopush on; open_file_cache max=100; open_file_cache_valid 60s;"
    if workload.production:
        what = f"access_log {os.devnull} combined; set_real_ip_from {HOST}; real_ip_header X-Forwarded-For; {what}"
    protocol = " http2" if workload.http2 else ""
    if not workload.tls:
        return harness.nginx(server=what, listen=protocol)
    tls = f"ssl_certificate {CERTIFICATE}; ssl_certificate_key {CERTIFICATE}; ssl_protocols TLSv1.2 TLSv1.3;"
    return harness.nginx(server=f"{what} {tls} {more}", listen=f" ssl{protocol}")


# The others ----------------------------------------------------------------------------------------------


def bind(port: int) -> str:
    return f"{HOST}:{port}"


def pem(certificate: str, key: str, workload: Workload) -> list[str]:
    return [certificate, str(CERTIFICATE), key, str(CERTIFICATE)] if workload.tls else []


def gunicorn(worker: str) -> Make:
    def make(workload: Workload, port: int, app: str) -> list[str]:
        threads = ["--threads", str(workload.threads or 4)] if worker == "gthread" else []
        limits = ["--worker-connections", MOST, "--backlog", BACKLOG, "--keep-alive", IDLE]
        more = [*limits, "--log-level", "error", "--no-control-socket", *pem("--certfile", "--keyfile", workload)]
        if workload.production:
            more += ["--access-logfile", os.devnull, "--forwarded-allow-ips", HOST, "--timeout", "30"]
        return ["-m", "gunicorn", "-k", worker, "-b", bind(port), *threads, *more, f"bench.comparison.served:{app}"]

    return make


def granian(interface: str) -> Make:
    def make(workload: Workload, port: int, app: str) -> list[str]:
        # Without a number of its own granian uses as many threads as the machine has cores.
        threads = ["--blocking-threads", str(workload.threads or 1)] if interface == "wsgi" else []
        files = ["--static-path-route", "/static", "--static-path-mount", str(FILES / "static")]
        log = "--access-log" if workload.production else "--no-log"
        more = ["--backlog", BACKLOG, "--backpressure", MOST, log, *(files if workload.app == "file" else ())]
        tls = pem("--ssl-certificate", "--ssl-keyfile", workload)
        where = [
            "--host",
            HOST,
            "--port",
            str(port),
            "--interface",
            interface,
            "--http",
            "2" if workload.http2 else "1",
        ]
        return ["-m", "granian", *where, *threads, *more, *tls, f"bench.comparison.served:{app}"]

    return make


def uvicorn(workload: Workload, port: int, app: str) -> list[str]:
    more = ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    limits = ["--backlog", BACKLOG, "--timeout-keep-alive", IDLE]
    quiet = ["--no-access-log", "--log-level", "warning", *limits]
    if workload.production:
        quiet = ["--access-log", "--proxy-headers", "--forwarded-allow-ips", HOST, *limits]
    tls = pem("--ssl-certfile", "--ssl-keyfile", workload)
    return ["-m", "uvicorn", "--host", HOST, "--port", str(port), *more, *quiet, *tls, f"bench.comparison.served:{app}"]


def hypercorn(workload: Workload, port: int, app: str) -> list[str]:
    more = ["-k", "uvloop", "--backlog", BACKLOG, "--keep-alive", IDLE, "--log-level", "error"]
    more += pem("--certfile", "--keyfile", workload)
    more += ["--access-logfile", os.devnull] if workload.production else []
    return ["-m", "hypercorn", "-b", bind(port), *more, f"bench.comparison.served:{app}"]


def waitress(workload: Workload, port: int, app: str) -> list[str]:
    limits = [f"--connection-limit={MOST}", f"--backlog={BACKLOG}", "--asyncore-use-poll"]
    threads = [f"--threads={workload.threads}"] if workload.threads else []
    return ["-m", "waitress", f"--listen={bind(port)}", *limits, *threads, f"bench.comparison.served:{app}"]


def by_start(peer: str, pooled: str = "") -> Make:
    """Return a server that has no command line: started by starter.py."""

    def make(workload: Workload, port: int, app: str) -> list[str]:
        tls = [str(CERTIFICATE)] if workload.tls else []
        return ["-m", "bench.comparison.starter", pooled if workload.threads and pooled else peer, app, str(port), *tls]

    return make


@dataclass(frozen=True, slots=True)
class Peer:
    """A server from PyPI: its requirements, its command after `python`, and the names of its apps in served.py."""

    requires: tuple[str, ...]
    make: Make
    prefix: str = ""


PEERS = {
    "gunicorn sync": Peer(("gunicorn",), gunicorn("sync")),
    "gunicorn gthread": Peer(("gunicorn",), gunicorn("gthread")),
    "gunicorn gevent": Peer(("gunicorn", "gevent", "packaging"), gunicorn("gevent")),
    "gevent pywsgi": Peer(("gevent",), by_start("pywsgi")),
    "gunicorn asgi": Peer(("gunicorn", "uvloop"), gunicorn("asgi"), "asgi_"),
    "granian wsgi": Peer(("granian",), granian("wsgi")),
    "granian static": Peer(("granian",), granian("wsgi")),
    "granian asgi": Peer(("granian", "uvloop"), granian("asgi"), "asgi_"),
    "uvicorn": Peer(("uvicorn[standard]",), uvicorn, "asgi_"),
    "hypercorn": Peer(("hypercorn", "uvloop"), hypercorn, "asgi_"),
    "waitress": Peer(("waitress",), waitress),
    "cheroot": Peer(("cheroot",), by_start("cheroot", "cheroot_64")),
    "bjoern": Peer(("bjoern",), by_start("bjoern")),
    "fastwsgi": Peer(("fastwsgi", "click", "setuptools<81"), by_start("fastwsgi")),  # it imports pkg_resources
    "socketify": Peer(("socketify",), by_start("socketify")),
    "asyncio protocol": Peer(("uvloop",), by_start("asyncio_protocol")),
    "asyncio streams": Peer(("uvloop",), by_start("asyncio_streams")),
    "uvloop protocol": Peer(("uvloop",), by_start("uvloop_protocol")),
    "uvloop streams": Peer(("uvloop",), by_start("uvloop_streams")),
}

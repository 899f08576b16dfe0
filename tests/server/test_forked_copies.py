"""Processes that an app forks: nothing of the server's is theirs, and the end of a response does not wait for them."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

from support.certificates import Certificate
from support.harness import Server, chosen, free_port, receive_all, serving, wait_for
from support.staged import App, is_alive, listening, open_files

MODELS = ("epoll", "epoll-et", "poll", "select", "asyncio", "thread", "thread-pool", "process", "iterative")

NAMES = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "CHLD", "IO", "TTIN", "TTOU")

APP = '''
import json, logging, multiprocessing, os, signal, socket, threading, time
from pathlib import Path

HERE = Path(__file__).parent
NAMES = "TERM INT HUP QUIT USR1 USR2 CHLD IO TTIN TTOU".split()
fork = multiprocessing.get_context("fork")
log = logging.getLogger("allcomers.app")

def nap():
    time.sleep(600)

def note(text):
    (HERE / "new").write_text(text)
    (HERE / "new").rename(HERE / "noted")

def terminate():
    """Terminate a child at once, and one that has begun."""
    codes = []
    for begins in (False, True):
        began = fork.Event()
        child = fork.Process(target=lambda: (began.set(), nap()))
        child.start()
        if begins:
            began.wait(20)
        child.terminate()
        child.join(20)
        codes.append(child.exitcode)
    return f"{codes} {os.getpid()}"

def held():
    """The kinds of the sockets, pipes and pollers that this process has open."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}") if int(fd) > 2 else "")
        except OSError:  # that of the listing
            pass
    return [link for link in links if link.startswith(("socket", "pipe", "anon_inode"))]

def inherit():
    """The sockets, pipes and pollers that a child has, and its signals."""
    if os.fork() == 0:
        kinds = held()
        signals = [repr(signal.getsignal(getattr(signal, f"SIG{name}"))) for name in NAMES]
        blocked = [str(signum) for signum in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        note(json.dumps([kinds, signals, signal.set_wakeup_fd(-1), blocked]))
        os._exit(0)
    return "forked"

def leave_napping(keep=False):
    """Leave a child, which has a copy of each peer's socket if that is asked for."""
    for fd in os.listdir("/proc/self/fd") if keep else ():
        try:
            with socket.socket(fileno=os.dup(int(fd))) as sock:
                sock.getpeername()
                os.dup(sock.fileno())
        except OSError:
            pass
    child = fork.Process(target=nap, daemon=True)
    child.start()
    note(str(child.pid))
    return "napping"

def write_logs():
    """Fork while another thread writes to the log; children write to it, too."""
    stop = threading.Event()
    def write():
        while not stop.is_set():
            log.debug("the worker's thread")
    threading.Thread(target=write).start()
    codes = []
    for number in range(20):
        child = os.fork()
        if child == 0:
            log.debug("a child")
            os._exit(7)
        until = time.monotonic() + 20
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < until:
            time.sleep(0.001)
        codes.append(ended[1] >> 8)
    stop.set()
    return str(set(codes))

def come_back():
    pid = os.fork()
    if pid == 0:
        return "the copy"
    note(str(os.waitpid(pid, 0)[1] >> 8))
    return "the worker"

def answer(path):
    return {
        "/terminated": terminate, "/inherited": inherit, "/nap": leave_napping, "/logged": write_logs,
        "/keep": lambda: leave_napping(True), "/back": come_back,
    }.get(path, lambda: str(os.getpid()))()

def wsgi(environ, start_response):
    body = answer(environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (piece for piece in (body, b" whole"))

async def asgi(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": answer("/keep")})
        return
    if scope["type"] != "http":
        raise RuntimeError(scope["type"])
    body = answer(scope["path"]).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b" whole"})
'''

PAIRS = [*((model, "wsgi") for model in MODELS), *((model, "asgi") for model in ("asyncio", "epoll", "thread"))]

WITH_CALLS = [
    *((*pair, ()) for pair in PAIRS),
    *(
        (model, "wsgi", options)
        for model in ("epoll", "thread", "process")
        for options in (("--calls", "pool"), ("--call-timeout", "30"))
    ),
]


@pytest.fixture
def forking(app: App) -> App:
    app.replace(APP)
    return app


def start(app: App, model: str, interface: str, *options: str) -> list[str]:
    return ["run", f"{app.folder / 'app.py'}:{interface}", "-m", model, *options]


def ask(server: Server, path: str) -> str:
    """Send a request whose response ends with its connection."""
    with server.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return receive_all(sock).partition(b"\r\n\r\n")[2].decode()


def noted(app: App) -> str:
    wait_for((app.folder / "noted").exists, "the note")
    return (app.folder / "noted").read_text()


@pytest.mark.parametrize(("model", "interface"), PAIRS)
def test_term_ends_a_child_and_no_worker(forking: App, model: str, interface: str) -> None:
    with serving(*start(forking, model, interface)) as server:
        workers = server.workers()
        codes, _, pid = ask(server, "/terminated").removesuffix(" whole").rpartition(" ")
        assert codes == "[-15, -15]"
        assert model == "process" or int(pid) in workers
        assert ask(server, "/").endswith("whole")
        assert server.workers() == workers
        assert "is to be replaced" not in server.stderr


@pytest.mark.parametrize(("model", "interface", "options"), WITH_CALLS)
def test_a_child_has_nothing_of_the_server(forking: App, model: str, interface: str, options: tuple[str, ...]) -> None:
    certain = ("--max-connections-per-client", "99", "--admin", "127.0.0.1:0", "--access-log", "off")
    with serving(*start(forking, model, interface, *certain, *options)) as server, server.connect() as other:
        if model != "iterative":  # another client, which stays connected
            other.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            wait_for(lambda: other.recv(65536).endswith(b"0\r\n\r\n"), "its response")
        with server.connect() as sock:  # until the note is there: with a connection's process go those that it has left
            sock.sendall(b"GET /inherited HTTP/1.1\r\nHost: test\r\n\r\n")
            kinds, signals, wakeup, blocked = json.loads(noted(forking))
        assert "anon_inode:[eventpoll]" not in kinds
        if (
            model != "asyncio"
        ):  # uvloop's own pipes, by which a loop is woken that no copy runs, are not known to anybody
            assert kinds == []
        assert (wakeup, blocked) == (-1, [])
        assert not listening() & set(kinds)
        assert not set(open_files(server.pid)) & set(kinds)  # the control pipes
        assert signals == [repr(signal.SIG_DFL)] * len(NAMES)
        assert ask(server, "/").endswith("whole")


@pytest.mark.parametrize("path", ["/nap", "/keep"])
@pytest.mark.parametrize(("model", "interface"), PAIRS)
def test_the_end_of_a_response_does_not_wait_for_a_child(
    forking: App, model: str, interface: str, path: str, certificate: Certificate
) -> None:
    """Check it also where the child has the socket all the same (/keep): its end comes by shutdown(2)."""
    is_tls = model in chosen(("epoll", "thread"), MODELS) and path == "/keep"
    options = ("--certfile", str(certificate.pem)) if is_tls else ()
    with serving(*start(forking, model, interface, *options)) as server:
        with server.connect(certificate.trusted if is_tls else None) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert receive_all(sock).endswith(b"napping whole")
        if model != "process":  # there a connection's process takes along what it has left
            assert is_alive(int(noted(forking)))


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
def test_the_end_of_a_websocket_does_not_wait_for_a_child(forking: App, model: str) -> None:
    with serving(*start(forking, model, "asgi")) as server:
        with connect("ws://{}:{}/".format(*server.address)) as websocket:
            websocket.send("fork")
            assert websocket.recv() == "napping"
            raw = websocket.socket
            assert list(websocket) == []  # it is closed, and so is the connection beneath
            assert isinstance(raw, socket.socket)
        assert is_alive(int(noted(forking)))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        *((model, ()) for model in MODELS),
        *((model, ("--calls", calls)) for model in ("epoll", "select", "thread") for calls in ("inline", "pool")),
    ],
)
def test_a_copy_that_comes_back_from_its_call_ends(forking: App, model: str, options: tuple[str, ...]) -> None:
    with serving(*start(forking, model, "wsgi", *options), quiet=False) as server:
        assert ask(server, "/back") == "the worker whole"
        assert noted(forking) == "1"
        assert "a copy of a worker, came back from the app's call and ends" in server.stderr
        assert ask(server, "/").endswith("whole")


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_a_child_may_log_whoever_logged_when_it_was_forked(forking: App, model: str) -> None:
    with serving(*start(forking, model, "wsgi", "--log-level", "debug")) as server:
        assert ask(server, "/logged") == "{7} whole"


def test_a_daemon_of_the_app_does_not_keep_the_port(app: App, tmp_path: Path) -> None:
    """A child that was forked when the app was imported, with a session of its own: it outlives the server."""
    app.replace(
        "import os, time\n"
        "if (pid := os.fork()) == 0:\n    os.setsid()\n    os.close(1)\n    time.sleep(60)\n    os._exit(0)\n"
        f"open({str(tmp_path / 'daemon')!r}, 'w').write(str(pid))\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'served']\n"
    )
    target = f"{app.folder / 'app.py'}:app"
    port = free_port()
    daemons = []
    try:
        with serving("run", target, bind=f"127.0.0.1:{port}"):
            daemons.append(int((tmp_path / "daemon").read_text()))
        assert is_alive(daemons[0])
        with serving("run", target, bind=f"127.0.0.1:{port}") as server:
            daemons.append(int((tmp_path / "daemon").read_text()))
            assert ask(server, "/") == "served"
    finally:
        for pid in daemons:
            os.kill(pid, signal.SIGKILL)


def test_the_worker_stops_well_behind_a_child(forking: App) -> None:
    """The end of a worker takes its child along."""
    began = time.monotonic()
    with serving(*start(forking, "epoll", "wsgi")) as server:
        ask(server, "/nap")
        child = int(noted(forking))
    assert not is_alive(child)
    assert time.monotonic() - began < 20  # of the 30 s that it may take

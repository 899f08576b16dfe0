"""The options of a server's life: its PID file, its user, the replacement of workers, and --drain-delay."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.certificates import Certificate
from support.crowd import Crowd, crowd, exchange, receive, request
from support.harness import PATIENCE, ROOT, Server, serving, wait_for
from support.rights import as_nobody, folder_for_all, python_for_all, python_or_skip
from support.staged import App, children, connect_time, cpu_seconds, fresh_answer, is_alive, listens_no_more, worker_of

MODELS = ["epoll", "epoll-et", "asyncio", "thread", "thread-pool", "process", "select", "iterative"]


def refused(*arguments: str, status: int) -> str:
    """Return the one line with which a server refuses to start."""
    result = subprocess.run(
        [sys.executable, "-m", "allcomers", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == status, result.stderr
    (line,) = result.stderr.splitlines()
    return line


def moment(seconds: float) -> None:
    """Let so much time pass, for an event that must not happen."""
    until = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > until, "time to pass", seconds + 20)


# ------------------------------------------------------------ --pid


def test_the_pid_file_is_there_as_long_as_the_server(app: App, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with serving("run", app.target, "--pid", str(path)) as server:
        assert path.read_text() == f"{server.pid}\n"
    assert not path.exists()
    assert [name for name in os.listdir(tmp_path) if "pid" in name] == []  # noqa: PTH208


def test_a_pid_file_is_there_only_once_all_serve(app: App, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    (app.folder / "slow-start").touch()
    command = [sys.executable, "-m", "allcomers", "run", app.target, "-b", "127.0.0.1:0", "--pid", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: children(process.pid), "a worker")
        assert not path.exists()
        (app.folder / "slow-start").unlink()
        wait_for(path.exists, "the file")
        assert path.read_text() == f"{process.pid}\n"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert not path.exists()


def test_a_pid_file_of_a_dead_process_is_overwritten(app: App, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for stale in (f"{dead.pid}\n", "no number\n", ""):
        path.write_text(stale)
        with serving("run", app.target, "--pid", str(path)) as server:
            assert path.read_text() == f"{server.pid}\n"


def test_a_pid_file_of_a_live_process_is_not(app: App, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    line = refused("run", app.target, "-b", ":0", "--pid", str(path), status=1)
    assert line == (
        f"allcomers: --pid {path}: process {os.getpid()} is running; if it is not your server, remove the file"
    )
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_pid_file_that_cannot_be_written(app: App, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "pid"
    assert f"--pid {path}: " in refused("run", app.target, "-b", ":0", "--pid", str(path), status=1)


# ------------------------------------------------------------ --user and --group


@pytest.fixture(scope="module")
def open_python() -> str:
    return python_or_skip()


IDENTITY_APP = """
import os
from pathlib import Path
import allcomers

HERE = Path(__file__).parent
(HERE / "loaded-by").write_text(f"{os.geteuid()} {os.getegid()}")

class App(allcomers.Web):
    def get(self, request):
        return f"{os.getresuid()} {os.getresgid()} {os.getgroups()} {os.environ.get('HOME')}"
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user can write to."""
    with folder_for_all(0o777, IDENTITY_APP) as folder:
        yield folder


@pytest.mark.parametrize("model", ["epoll", "process"])
def test_workers_give_root_up_before_the_app_is_loaded(open_folder: Path, open_python: str, model: str) -> None:
    server = as_nobody(open_folder, open_python, "--user", "nobody", "-m", model)
    try:
        uid, gid = 65534, 65534
        assert (open_folder / "loaded-by").read_text() == f"{uid} {gid}"
        body = fresh_answer(server).decode()
        assert body == f"{(uid,) * 3} {(gid,) * 3} [{gid}] /nonexistent"
        assert f"Uid:\t{os.geteuid()}\t" in Path(f"/proc/{server.pid}/status").read_text()  # the supervisor's
    finally:
        assert server.stop() == 0


def test_a_group_of_its_own(open_folder: Path, open_python: str) -> None:
    server = as_nobody(open_folder, open_python, "--user", "nobody", "--group", "1234")
    try:
        assert fresh_answer(server).startswith(b"(65534, 65534, 65534) (1234, 1234, 1234) [1234]")
    finally:
        assert server.stop() == 0


def test_a_group_alone(open_folder: Path, open_python: str) -> None:
    server = as_nobody(open_folder, open_python, "--group", "1234")
    try:
        assert fresh_answer(server).startswith(b"(0, 0, 0) (1234, 1234, 1234) [1234]")
    finally:
        assert server.stop() == 0


def test_keys_are_read_as_root_also_after_hup(open_folder: Path, open_python: str, certificate: Certificate) -> None:
    pem = open_folder / "server.pem"
    pem.write_bytes(certificate.pem.read_bytes())
    pem.chmod(0o600)
    server = as_nobody(open_folder, open_python, "--user", "nobody", "--certfile", str(pem))
    try:
        before = set(server.workers())
        server.send(signal.SIGHUP)
        wait_for(lambda: server.workers() and not before & set(server.workers()), "a new worker")
        with server.connect(certificate.trusted) as sock:
            assert exchange(sock).body.startswith(b"(65534, ")
    finally:
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--user", "no-such-user"], "--user no-such-user: there is no such user; `getent passwd` lists them"),
        (["--group", "no-such-group"], "--group no-such-group: there is no such group; `getent group` lists them"),
        (["--user", "54321"], "--user 54321: it is not in the user database, so it needs a --group"),
    ],
)
def test_names_that_are_not_known(app: App, arguments: list[str], says: str) -> None:
    assert refused("run", app.target, "-b", ":0", *arguments, status=2) == f"allcomers: {says}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_python_that_the_user_cannot_read(app: App) -> None:
    if python_for_all() == sys.executable:
        pytest.skip("everybody can read this Python")
    line = refused("run", app.target, "-b", ":0", "--user", "nobody", status=2)
    assert re.match("allcomers: --user nobody: it cannot read (Python itself|allcomers), which is in /", line)


# ------------------------------------------------------------ --max-requests and --max-memory


@pytest.mark.parametrize(
    ("model", "calls"),
    [("epoll", "inline"), ("asyncio", "pool"), ("thread", "inline"), ("thread-pool", "pool"), ("process", "inline")],
)
def test_workers_are_replaced_after_so_many_requests(app: App, model: str, calls: str) -> None:
    limits = ["--max-requests", "20", "--max-requests-jitter", "5"]
    arguments = ["-m", model, "--calls", calls, "-w", "2", "-t", "40", *limits]
    with serving("run", app.target, *arguments) as server, crowd(server, 16, uploads=2) as clients:
        seen = set(server.workers())
        fewest = 2

        def look() -> bool:
            nonlocal fewest
            now = server.workers()
            fewest = min(fewest, len(now))
            seen.update(now)
            return len(seen) >= 5

        if model == "process":  # a conversation counts when it ends
            clients.finish()
            clients = Crowd(server, 0)
            wait_for(lambda: fresh_answer(server) and look(), "workers to be replaced")
        else:
            wait_for(look, "workers to be replaced")
        assert fewest == 2, "fewer workers than wanted"
        assert re.search(r"worker \d+ is to be replaced: it has answered \d+ requests", server.stderr)
        assert "another starts" not in server.stderr


def test_a_service_counts_its_messages(tmp_path: Path) -> None:
    arguments = ["run", "examples/echo.py:Echo", "--max-requests", "5"]
    with serving(*arguments) as server, server.connect() as sock:
        before = server.workers()
        for number in range(5):
            sock.sendall(b"%d\n" % number)
            assert sock.recv(100) == b"%d\n" % number
        wait_for(lambda: server.workers() and not set(before) & set(server.workers()), "another worker")


def test_one_that_cannot_be_replaced_serves_on(app: App) -> None:
    with serving("run", app.target, "--max-requests", "1") as server:
        (worker,) = server.workers()
        (app.folder / "die").touch()
        fresh_answer(server)
        wait_for(lambda: "in 0.2 s" in server.stderr, "attempts to replace it")
        assert worker_of(fresh_answer(server), "epoll") == worker
        (app.folder / "die").unlink()
        wait_for(lambda: worker not in server.workers(), "another worker")
        assert fresh_answer(server)


@pytest.mark.parametrize("model", ["epoll", "process", "thread"])
def test_workers_are_replaced_after_their_lifetime(app: App, model: str) -> None:
    arguments = ["-m", model, "-w", "2", "--workers-lifetime", "1.5"]
    with serving("run", app.target, *arguments) as server, crowd(server, 4):
        before = set(wait_for(lambda: len(now := server.workers()) == 2 and now, "two workers"))
        wait_for(lambda: len(now := set(server.workers())) >= 2 and not now & before, "others in their place")
        assert server.stderr.count("is to be replaced: it has reached --workers-lifetime") >= 2
        assert "another starts" not in server.stderr


UMASK = """
import allcomers
from pathlib import Path

class App(allcomers.Web):
    def get(self, request):
        Path(request.path).touch()
        return b""
"""


def test_the_umask_is_that_of_the_option_and_of_a_reload(app: App, tmp_path: Path) -> None:
    app.replace(UMASK)
    config = tmp_path / "allcomers.toml"
    config.write_text('umask = "027"\n')
    with serving("run", app.target, "--config", str(config)) as server:
        (worker,) = server.workers()
        with server.connect() as sock:
            assert exchange(sock, f"{tmp_path}/one").status == 200
        config.write_text('umask = "077"\n')
        server.send(signal.SIGHUP)
        wait_for(lambda: server.workers() and worker not in server.workers(), "another worker")
        with server.connect() as sock:
            assert exchange(sock, f"{tmp_path}/two").status == 200
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("one", "two")] == [0o640, 0o600]


@pytest.mark.parametrize("mask", ["22", "0999", "01000", "x"])
def test_a_mask_without_a_zero_is_refused(app: App, mask: str) -> None:
    assert "is not a mask in octal" in refused("serve", str(app.folder), f"--umask={mask}", status=2)


GREEDY = """
import os
import allcomers

held = []

class App(allcomers.Web):
    def get(self, request):
        if request.path == "/more":
            held.append(b"x" * 100_000_000)
        return f"{os.getpid()}"
"""


def test_a_worker_that_has_grown_is_replaced(app: App) -> None:
    app.replace(GREEDY)
    with serving("run", app.target, "--max-memory", "110M") as server, server.connect() as sock:
        (worker,) = server.workers()
        assert exchange(sock).status == 200
        assert exchange(sock, "/more").status == 200
        wait_for(lambda: server.workers() and worker not in server.workers(), "another worker")
        found = re.search(r"is to be replaced: it has grown to ([0-9.]+) MiB", server.stderr)
        assert found
        assert float(found[1]) > 110


def test_a_limit_that_no_worker_could_keep_is_told(app: App) -> None:
    with serving("run", app.target, "--max-memory", "1M") as server:
        before = server.workers()
        assert "--max-memory has no effect: a worker that has served no client has " in server.stderr
        moment(1.5)
        assert server.workers() == before


# ------------------------------------------------------------ a worker hangs


@pytest.mark.parametrize("model", MODELS)
def test_a_worker_that_gives_no_sign_of_life_is_replaced(app: App, model: str) -> None:
    with serving("run", app.target, "-m", model, "--hang-timeout", "1.5") as server:
        (worker,) = server.workers()
        moment(2)
        assert server.workers() == [worker]  # one that is idle answers
        os.kill(worker, signal.SIGSTOP)
        wait_for(lambda: worker not in server.workers(), "its end")
        assert re.search(rf"worker {worker} has not answered for 2 s: it hangs, and is replaced", server.stderr)
        assert worker_of(fresh_answer(server), model) != worker


@pytest.mark.parametrize("model", ["epoll", "asyncio", "select", "iterative"])
def test_an_inline_call_that_hangs_is_told_with_its_stack(app: App, model: str) -> None:
    arguments = ["-m", model, "--calls", "inline", "--hang-timeout", "1.5"]
    with serving("run", app.target, *arguments) as server, server.connect() as sock:
        (worker,) = server.workers()
        sock.sendall(request("/wait?call"))
        app.await_begun("call")
        wait_for(lambda: worker not in server.workers(), "its end")
        assert worker_of(fresh_answer(server), model) != worker
        assert "Fatal Python error: Aborted" in server.stderr
        assert re.search(r'File ".*/app\.py", line \d+ in get', server.stderr)


@pytest.mark.parametrize(
    ("model", "calls"), [("epoll", "pool"), ("asyncio", "pool"), ("thread", "inline"), ("process", "inline")]
)
def test_a_call_that_keeps_nobody_else_waiting_may_last(app: App, model: str, calls: str) -> None:
    arguments = ["-m", model, "--calls", calls, "--hang-timeout", "1.5"]
    with serving("run", app.target, *arguments) as server, server.connect() as sock:
        before = server.workers()
        sock.sendall(request("/wait?call"))
        app.await_begun("call")
        moment(2.5)
        app.open_gate()
        assert receive(sock).status == 200
        assert server.workers() == before


def test_a_supervisor_that_was_stopped_blames_nobody(app: App) -> None:
    with serving("run", app.target, "--hang-timeout", "1.5") as server:
        before = server.workers()
        for _ in range(3):
            server.send(signal.SIGSTOP)
            moment(2.0)
            server.send(signal.SIGCONT)
            moment(0.2)
        assert server.workers() == before
        assert "hangs" not in server.stderr


def test_an_app_that_takes_long_to_load_is_told_of_and_left_alone(app: App) -> None:
    with serving("run", app.target, "--hang-timeout", "2") as server:
        (app.folder / "slow-start").touch()
        server.send(signal.SIGTTIN)
        wait_for(lambda: "the app is still being loaded" in server.stderr, "the warning")
        (app.folder / "slow-start").unlink()
        wait_for(lambda: len(server.workers()) == 2, "a second worker")
        assert server.stderr.count("the app is still being loaded") == 1


@pytest.mark.parametrize(
    ("model", "calls"),
    [
        ("epoll", "inline"),
        ("asyncio", "inline"),
        ("iterative", "inline"),
        ("iterative", "pool"),
        ("thread", "inline"),
        ("process", "inline"),
    ],
)
def test_a_call_that_hangs_does_not_outlive_a_killed_supervisor(app: App, model: str, calls: str) -> None:
    server = Server("run", app.target, "-m", model, "--calls", calls, "--graceful-timeout", "0.2")
    with server.connect() as sock:
        (worker,) = server.workers()
        sock.sendall(request("/wait?call"))
        app.await_begun("call")
        processes = [worker, *children(worker)]
        server.process.kill()
        wait_for(lambda: not any(map(is_alive, processes)), "its end")
    server.stop()


# ------------------------------------------------------------ crash loops


CRASHES = """
import ctypes, os, signal
import allcomers

class App(allcomers.Web):
    def get(self, request):
        match request.path:
            case "/exit":
                os._exit(1)
            case "/kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "/segfault":
                ctypes.string_at(0)
        return f"{os.getpid()}"
"""


@pytest.mark.parametrize(
    ("path", "how"),
    [("/exit", "ended with status 1"), ("/kill", "was killed by SIGKILL"), ("/segfault", "was killed by SIGSEGV")],
)
def test_requests_that_kill_workers_again_and_again(app: App, path: str, how: str) -> None:
    """Kill a worker with each request. The others go on; replacements come after growing delays."""
    app.replace(CRASHES)
    with serving("run", app.target, "-w", "2", "--calls", "inline") as server:
        before, started = cpu_seconds(server.pid), time.monotonic()
        for count in range(1, 5):
            with server.connect() as sock:
                sock.sendall(request(path))
                assert sock.recv(1) == b""
            wait_for(lambda count=count: server.stderr.count(how) >= count, "the supervisor to see it")
            with server.connect() as sock:  # at once, or when another is there
                assert exchange(sock).status == 200
        delays = re.findall(rf"worker \d+ {how}; another starts (.+)", server.stderr)
        assert delays == ["now", "in 0.1 s", "in 0.2 s", "in 0.4 s"]
        wait_for(lambda: len(server.workers()) == 2, "two workers")
        elapsed = time.monotonic() - started
        assert cpu_seconds(server.pid) - before < elapsed / 4, "the supervisor spins"
        if path == "/segfault":
            assert "Fatal Python error: Segmentation fault" in server.stderr
            assert re.search(r'File ".*/app\.py", line \d+ in get', server.stderr)


# ------------------------------------------------------------ --drain-delay


def refuses(server: Server) -> bool:
    try:
        server.connect(timeout=PATIENCE).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("model", [model for model in MODELS if model != "iterative"])
def test_peers_are_served_and_seen_out_during_the_delay(app: App, model: str) -> None:
    arguments = ["-m", model, "-w", "2", "--drain-delay", "100"]
    with serving("run", app.target, *arguments) as server, ExitStack() as stack:
        idle, busy = [stack.enter_context(server.connect()) for _ in range(2)]
        for sock in (idle, busy):
            assert not exchange(sock).close
        server.send(signal.SIGTERM)
        wait_for(lambda: "leaving in 100 s" in server.stderr, "the order to be read")
        wait_for(lambda: says_goodbye(server), "newcomers to be told")
        answer = exchange(busy)
        assert (answer.status, answer.close) == (200, True)
        assert busy.recv(1) == b""
        idle.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has asked it to leave
            idle.recv(1)
        idle.settimeout(PATIENCE)
        server.send(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        assert idle.recv(1) == b""


def says_goodbye(server: Server) -> bool:
    with server.connect() as sock:
        return exchange(sock).close


def test_the_iterative_model_says_goodbye_too(app: App) -> None:
    with serving("run", app.target, "-m", "iterative", "--drain-delay", "100") as server:
        server.send(signal.SIGTERM)
        wait_for(lambda: "leaving in 100 s" in server.stderr, "the order to be read")
        assert says_goodbye(server)
        server.send(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0


def test_the_delay_under_load_loses_no_request(app: App) -> None:
    with serving("run", app.target, "-w", "2", "--drain-delay", "0.5") as server:
        clients = Crowd(server, 24, uploads=4)
        clients.more(100)
        clients.may_be_refused = True
        started = time.monotonic()
        server.send(signal.SIGTERM)
        clients.join()
        assert clients.failures == []
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - started > 0.4


def test_a_second_term_ends_the_delay(app: App) -> None:
    with serving("run", app.target, "--drain-delay", "100") as server:
        server.send(signal.SIGTERM)
        wait_for(lambda: "leaving in 100 s" in server.stderr, "the order to be read")
        server.send(signal.SIGTERM)
        wait_for(lambda: listens_no_more(server), "the second order to be read")
        assert server.process.wait(PATIENCE) == 0


def test_a_worker_that_dies_during_the_delay_is_replaced(app: App) -> None:
    with serving("run", app.target, "--drain-delay", "100") as server:
        server.send(signal.SIGTERM)
        wait_for(lambda: "leaving in 100 s" in server.stderr, "the order to be read")
        os.kill(server.workers()[0], signal.SIGKILL)
        assert says_goodbye(server)
        server.send(signal.SIGTERM)


# ------------------------------------------------------------ orders and sockets

SPAWNING = """
import subprocess, sys
import allcomers

class App(allcomers.Web):
    def get(self, request):
        return subprocess.run(["cat", "/proc/self/status"], capture_output=True).stdout
"""


@pytest.mark.parametrize("model", ["epoll", "process"])
def test_programs_that_an_app_starts_have_their_signals(app: App, model: str) -> None:
    """Check that no signal is ignored, because programs inherit that (execve(2)): the app could not end them."""
    app.replace(SPAWNING)
    own = masks(Path("/proc/self/status").read_bytes())
    ours = {getattr(signal, f"SIG{name}") for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "TTIN", "TTOU")}
    pythons = {signal.SIGPIPE, signal.SIGXFSZ}  # which it ignores itself, and `subprocess` restores
    restored = sum(1 << signum - 1 for signum in ours | pythons)
    with serving("run", app.target, "-m", model) as server:
        assert masks(fresh_answer(server)) == [own[0], own[1] & ~restored]  # what it was started with, and no more


def masks(status: bytes) -> list[int]:
    """Return the masks of blocked and of ignored signals (proc_pid_status(5))."""
    found = re.search(rb"SigBlk:\t(\w+)\nSigIgn:\t(\w+)", status)
    assert found
    return [int(mask, 16) for mask in found.groups()]


ORDERS = """
import os, signal
from allcomers.system.signals import Signals
signals = Signals(1.0)
handled = []
signals.on(signal.SIGTTIN, lambda: handled.append("in"), each=True)
signals.on(signal.SIGTTOU, lambda: handled.append("out"), each=True)
signals.on(signal.SIGHUP, lambda: handled.append("hup"))
for name in ("TTIN", "TTIN", "HUP", "TTOU", "TTIN", "HUP"):
    os.kill(os.getpid(), getattr(signal, "SIG" + name))
signals.read()
print(handled)
"""


def test_each_ttin_and_ttou_counts() -> None:
    """Read several signals at once, which is a matter of chance with real processes."""
    handled = subprocess.run([sys.executable, "-c", ORDERS], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)
    assert handled.stdout == "['in', 'in', 'in', 'hup', 'out']\n"


def test_a_unix_socket_is_gone_before_the_last_worker(app: App, tmp_path: Path) -> None:
    """Check that no client connects only to be reset, and that the path of a next server stays."""
    path = tmp_path / "socket"
    with (
        serving("run", app.target, "-m", "thread", bind=f"unix:{path}") as server,
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        sock.sendall(request("/wait?call"))
        app.await_begun("call")
        server.send(signal.SIGTERM)
        wait_for(lambda: not path.exists(), "the path to go")
        path.write_text("of the next server")
        app.open_gate()
        assert receive(sock).status == 200
        assert server.process.wait(PATIENCE) == 0
        assert path.read_text() == "of the next server"


def test_a_socket_of_others_hears_on_after_term(app: App) -> None:
    """Check that an inherited socket is only closed: other processes may serve it."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        os.set_inheritable(given.fileno(), True)
        command = [sys.executable, "-m", "allcomers", "run", app.target, "-b", f"fd://{given.fileno()}"]
        for _ in range(2):
            process = subprocess.Popen(command, cwd=ROOT, pass_fds=[given.fileno()], stderr=subprocess.PIPE)
            try:
                with socket.create_connection(given.getsockname(), timeout=PATIENCE) as sock:
                    assert exchange(sock).status == 200
            finally:
                process.terminate()
                process.communicate(timeout=PATIENCE)
            assert process.returncode == 0
        assert min(connect_time(given.getsockname()) for _ in range(3)) < 0.9

"""`allcomers gunicorn` and `allcomers uvicorn`: their files and variables, of the shapes that public projects have."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from allcomers.config.migration.movers import of_gunicorn, of_uvicorn
from allcomers.errors import ConfigError
from support.crowd import exchange
from support.deployed import ASGI, WSGI
from support.harness import PATIENCE, wait_for

LOADED = """
import os
from pathlib import Path

with Path("loaded").open("a") as file:
    print(os.getpid(), file=file)
"""

EVERY_HOOK = """
import os
from pathlib import Path

bind = "127.0.0.1:0"
workers = 2


def note(*words):
    with Path("notes").open("a") as file:
        print(*words, file=file)


def on_starting(server):
    note("on_starting", server.pid)
    server.log.info("starting with %s workers", server.cfg.workers)


def when_ready(server):
    note("when_ready", server.pid)


def pre_fork(server, worker):
    note("pre_fork", worker.age)


def post_fork(server, worker):
    note("post_fork", worker.pid)
    server.log.info("worker spawned (pid: %s)", worker.pid)


def post_worker_init(worker):
    note("post_worker_init", worker.pid, worker.wsgi.__name__, worker.app.wsgi() is worker.wsgi)


def worker_exit(server, worker):
    note("worker_exit", worker.pid)


def child_exit(server, worker):
    note("child_exit", worker.pid)


def nworkers_changed(server, new, old):
    note("nworkers_changed", new, old)


def on_reload(server):
    note("on_reload", server.pid)


def on_exit(server):
    note("on_exit", server.pid)
"""

FILES = {
    "one of few lines": ("bind = '127.0.0.1:0'\nworkers = 2\ntimeout = 120\n", "app:app", "--hang-timeout 120"),
    "one with threads": (
        "import os\nbind = f\"127.0.0.1:{os.environ.get('NO_PORT', 0)}\"\nworkers = int(os.getenv('WEB', 2))\n"
        "worker_class = 'gthread'\nthreads = 4\naccesslog = '-'\nerrorlog = '-'\nloglevel = 'info'\n",
        "app:app", "taken as --calls pool --threads 4",
    ),
    "one that counts cores": (
        "import multiprocessing\nworkers = min(2, multiprocessing.cpu_count() * 2 + 1)\nbind = ['127.0.0.1:0']\n"
        "keepalive = 5\nmax_requests = 1000\nmax_requests_jitter = 50\nworker_connections = 1000\n",
        "app:create_app()", "--max-connections 1000",
    ),
    "one for uvicorn's worker": (
        "bind = '127.0.0.1:0'\nworker_class = 'uvicorn.workers.UvicornWorker'\ngraceful_timeout = 30\n",
        "deployed:app", "taken as --model asyncio",
    ),
    "one that names its app": (
        "wsgi_app = 'app:application'\nbind = '127.0.0.1:0'\nproc_name = 'site'\ndaemon = False\n", "", "--bind",
    ),
    "one that preloads": (
        "bind = '127.0.0.1:0'\npreload_app = True\nworkers = 2\n\ndef post_worker_init(worker):\n    import atexit\n"
        "    from multiprocessing.util import _exit_function\n    atexit.unregister(_exit_function)\n"
        "    worker.log.info('done, (pid: {})'.format(worker.pid))\n",
        "app:app", "--preload",
    ),
    "one with files of logs": (
        "bind = '127.0.0.1:0'\naccesslog = 'access.log'\nerrorlog = 'error.log'\npidfile = 'gunicorn.pid'\n"
        "daemon = True\n",
        "app:app", "left out, for there is no equivalent: daemon, errorlog",
    ),
    "one with hooks of requests": (
        "bind = '127.0.0.1:0'\n\ndef pre_request(worker, req):\n    pass\n\n"
        "def worker_abort(worker):\n    worker.log.info('aborted')\n",
        "app:app", "left out, for there is no equivalent: pre_request, worker_abort",
    ),
    "one with a mask and variables": (
        "bind = 'unix:SOCKET'\numask = 0o007\nraw_env = ['ONE=1', 'TWO=2']\nforwarded_allow_ips = '*'\n",
        "app:app", "--umask 0007",
    ),
    "one for prometheus": (
        "bind = '127.0.0.1:0'\nworkers = 2\n\ndef child_exit(server, worker):\n"
        "    from prometheus_client import multiprocess\n    multiprocess.mark_process_dead(worker.pid)\n",
        "app:app", "--workers 2",
    ),
}  # fmt: skip
"""{what it is: (the file, TARGET, a part of what is reported)}."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(LOADED + WSGI)
    (tmp_path / "deployed.py").write_text(ASGI)
    return tmp_path


class Started:
    """A server that a mover's command line starts; `said` is all it has written."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as file:
            command = [sys.executable, "-m", "allcomers", *arguments]
            environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), **(env or {})}
            self.process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, env=environ)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def answer(self) -> bytes:
        """Return the body of a response, once it listens."""
        wait_for(lambda: "Listening at" in self.said or self.process.poll() is not None, "the server to listen")
        found = re.search(
            r"Listening at: \S+?://(?:[\d.]+:(\d+)|unix:(\S+)|(\S+)) |Listening at: unix:(\S+)", self.said
        )
        assert found is not None, self.said
        port, *paths = found.groups()
        with socket.socket(socket.AF_INET if port else socket.AF_UNIX) as sock:
            sock.connect(("127.0.0.1", int(port)) if port else next(filter(None, paths)))
            return exchange(sock).body


@contextmanager
def started(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Started]:
    server = Started(folder, *arguments, env=env)
    try:
        yield server
    finally:
        server.process.terminate()
        status = server.process.wait(PATIENCE)
    assert (status, "Traceback" in server.said) == (0, False), server.said


@pytest.mark.parametrize("name", FILES)
def test_a_file_as_public_projects_have_it_is_served(folder: Path, name: str) -> None:
    text, target, expected = FILES[name]
    (folder / "gunicorn.conf.py").write_text(text.replace("SOCKET", str(folder / "socket")))
    with started(folder, "gunicorn", *filter(None, [target])) as server:
        assert server.answer() == b"ok"
        assert expected in server.said
        if "preload" in name:
            assert (folder / "loaded").read_text() == f"{server.process.pid}\n"


def test_each_hook_of_a_file_is_called(folder: Path) -> None:
    (folder / "conf.py").write_text(EVERY_HOOK)

    def notes() -> list[list[str]]:
        path = folder / "notes"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def count(name: str) -> int:
        return [note[0] for note in notes()].count(name)

    with started(folder, "gunicorn", "-c", "conf.py", "app:app") as server:
        wait_for(lambda: count("when_ready") and count("post_worker_init") == 2, "two workers")
        server.process.send_signal(signal.SIGTTIN)
        wait_for(lambda: count("post_worker_init") == 3, "a third worker")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: count("child_exit") >= 2, "a reload")
        pid = str(server.process.pid)
    found = notes()
    assert found[:4] == [["on_starting", pid], ["pre_fork", "1"], found[2], found[3]]
    assert found[2][0] == "post_fork"
    assert found[3] == ["post_worker_init", found[2][1], "app", "True"]
    assert ["nworkers_changed", "3", "2"] in found
    assert ["on_reload", pid] in found
    assert found[-1] == ["on_exit", pid]
    forked = {note[1] for note in found if note[0] == "post_fork"}
    assert {note[1] for note in found if note[0] == "child_exit"} == forked
    assert f"worker spawned (pid: {found[2][1]})" in server.said


def test_a_hook_that_raises_after_the_fork_ends_the_start(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("bind = '127.0.0.1:0'\ndef post_fork(server, worker):\n    1 / 0\n")
    command = [sys.executable, "-m", "allcomers", "gunicorn", "app:app"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "gunicorn post_fork failed: ZeroDivisionError: division by zero" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bind = (", "'(' was never closed"),
        ("\nimport nothing_such", "gunicorn.conf.py, line 2: ModuleNotFoundError: No module named 'nothing_such'"),
        ("workers = 'many'", "--workers: 'many' is not a whole number"),
    ],
)
def test_a_bad_file_is_told_in_a_line(folder: Path, text: str, expected: str) -> None:
    (folder / "gunicorn.conf.py").write_text(text)
    command = [sys.executable, "-m", "allcomers", "gunicorn", "app:app"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, expected in done.stderr.splitlines()[-1]) == (2, True), done.stderr


def test_a_file_that_patches_python_is_refused(folder: Path) -> None:
    pytest.importorskip("gevent")
    (folder / "gunicorn.conf.py").write_text("from gevent import monkey\nmonkey.patch_all()\nworker_class = 'gevent'\n")
    command = [sys.executable, "-m", "allcomers", "gunicorn", "app:app"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "leave gevent.monkey out there" in done.stderr.splitlines()[-1]) == (2, True), done.stderr


# ------------------------------------------------------------ strengths


def test_the_command_line_is_stronger_than_the_variable_and_that_than_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "gunicorn.conf.py").write_text("bind = ['a:1', 'a:2']\nworkers = 2\nthreads = 3\ntimeout = 9\n")
    found = of_gunicorn(["app:app", "-t", "30"], {"GUNICORN_CMD_ARGS": "--bind=b:1 --workers=5"}).arguments
    assert found == [
        "--workers=2", "--threads=3", "--hang-timeout=9", "--bind=b:1", "--workers=5", "app:app", "--hang-timeout=30",
    ]  # fmt: skip
    found = of_gunicorn(["-b", "c:1", "app:app"], {"GUNICORN_CMD_ARGS": "-b b:1 -w 5"}).arguments
    assert [word for word in found if "bind" in word or word.startswith("-b")] == ["-b=c:1"]
    with pytest.raises(ConfigError, match="GUNICORN_CMD_ARGS: No closing quotation"):
        of_gunicorn(["app:app"], {"GUNICORN_CMD_ARGS": "-b 'x"})


def test_short_flags_are_gunicorn_s(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert of_gunicorn(["-t", "120", "-m", "22", "app"], {}).arguments == ["--hang-timeout=120", "--umask=0026", "app"]


def test_variables_of_uvicorn() -> None:
    environ = {
        "UVICORN_HOST": "0.0.0.0", "UVICORN_PORT": "80", "UVICORN_RELOAD": "true", "UVICORN_FACTORY": "0",
        "UVICORN_ACCESS_LOG": "0", "UVICORN_PROXY_HEADERS": "1", "UVICORN_RELOAD_DIR": "a b", "UVICORN_WORKERS": "",
    }  # fmt: skip
    found = of_uvicorn(["app:app", "--port", "81"], environ)
    assert found.arguments == [
        "--reload", "--access-log=off", "--reload-dir=a", "--reload-dir=b", "app:app", "--bind=0.0.0.0:81",
    ]  # fmt: skip
    assert found.weak == {"forwarded_allow_ips": ("127.0.0.1,::1", "--proxy-headers")}
    with pytest.raises(ConfigError, match="UVICORN_RELOAD: 'maybe' is neither on nor off"):
        of_uvicorn(["app:app"], {"UVICORN_RELOAD": "maybe"})


def test_uvicorn_s_command_line_is_served(folder: Path) -> None:
    with started(folder, "uvicorn", "deployed:app", env={"UVICORN_PORT": "0", "UVICORN_HOST": "127.0.0.1"}) as server:
        assert server.answer() == b"ok"


# ------------------------------------------------------------ --preload


def test_an_app_that_is_loaded_once_stays_at_a_reload(folder: Path) -> None:
    with started(folder, "run", "app:app", "--preload", "-w", "2", "-b", "127.0.0.1:0") as server:
        assert server.answer() == b"ok"
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the app stays as --preload has loaded it" in server.said, "a reload")
    assert (folder / "loaded").read_text() == f"{server.process.pid}\n"


def test_threads_of_an_app_that_is_preloaded_are_told(folder: Path) -> None:
    text = "\nimport threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (folder / "app.py").write_text(LOADED + WSGI + text)
    with started(folder, "run", "app:app", "--preload", "-b", "127.0.0.1:0") as server:
        assert server.answer() == b"ok"
        assert "the app has started 1 threads while it was loaded" in server.said


def test_an_app_that_cannot_be_preloaded_ends_the_start(folder: Path) -> None:
    (folder / "app.py").write_text("1 / 0\n")
    command = [sys.executable, "-m", "allcomers", "run", "app:app", "--preload", "-b", "127.0.0.1:0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("Traceback")) == (3, 1), done.stderr

"""A server that root starts: nothing is opened as root through links, and no code of others runs as root."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from allcomers.server.supervisor.pid_file import PidFile
from support.harness import ROOT, Server, serving, wait_for
from support.rights import NOBODY, as_nobody, folder_for_all, python_or_skip, serving_as_nobody
from support.staged import App, fresh_answer, open_files

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lose")

PAGE = """
import allcomers

class App(allcomers.Web):
    def get(self, request):
        return "here"
"""


@pytest.fixture(scope="module")
def python() -> str:
    return python_or_skip()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that root alone may write to, and all may enter."""
    with folder_for_all(0o755, PAGE) as made:
        yield made


def of_nobody(path: Path) -> Path:
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path


def rotated(server: Server, log: Path) -> None:
    """Rename the log, have it reopened, and wait for a line in the new one."""
    log.rename(log.with_suffix(".1"))
    server.send(signal.SIGUSR1)
    wait_for(lambda: log.exists() and fresh_answer(server) and log.read_text(), "a line in the new log")


# ------------------------------------------------------------ access logs


def test_a_log_in_a_folder_of_root_s_is_opened_by_root_and_passed_on(folder: Path, python: str) -> None:
    log = folder / "logs" / "access.log"
    log.parent.mkdir(mode=0o700)
    with serving_as_nobody(folder, python, "-w", "2", "--access-log", str(log)) as server:
        fresh_answer(server)
        wait_for(lambda: log.read_text().count("\n") == 1, "a line")
        assert (log.stat().st_uid, log.stat().st_gid) == (NOBODY, NOBODY)
        rotated(server, log)
        for worker in server.workers():
            wait_for(lambda worker=worker: str(log) in open_files(worker), "each worker to have the new file")
            old = str(log.with_suffix(".1"))  # which it closes behind that
            wait_for(lambda worker=worker, old=old: old not in open_files(worker), "it to close the old one")
        wait_for(lambda: str(log) not in open_files(server.pid), "the supervisor to close it")
        assert "cannot reopen" not in server.stderr


def test_a_log_that_is_root_s_stays_so_and_is_written_to(folder: Path, python: str) -> None:
    log = folder / "access.log"
    log.touch(mode=0o600)
    with serving_as_nobody(folder, python, "--access-log", str(log)) as server:
        fresh_answer(server)
        wait_for(log.read_text, "a line")
        assert log.stat().st_uid == 0


def test_a_log_in_the_user_s_own_folder_is_the_user_s(folder: Path, python: str) -> None:
    log = of_nobody(folder / "logs") / "access.log"
    with serving_as_nobody(folder, python, "--access-log", str(log)) as server:
        fresh_answer(server)
        wait_for(lambda: log.exists() and log.read_text(), "a line")
        rotated(server, log)
        assert log.stat().st_uid == NOBODY


@pytest.mark.parametrize("link", ["file", "folder"])
def test_no_log_is_opened_as_root_through_a_link_of_the_user_s(folder: Path, python: str, link: str) -> None:
    secret = folder / "secret"
    secret.mkdir(mode=0o700)
    (secret / "access.log").touch(mode=0o600)
    logs = of_nobody(folder / "logs")
    if link == "file":
        log = logs / "access.log"
        log.symlink_to(secret / "access.log")
    else:
        (logs / "inner").symlink_to(secret)
        log = logs / "inner" / "access.log"
    server = as_nobody(folder, python, "--user", "nobody", "--access-log", str(log))
    assert server.stop() == 2
    assert f"cannot open '{log}': Permission denied" in server.stderr
    assert (secret / "access.log").read_text() == ""


def test_nor_at_usr1(folder: Path, python: str) -> None:
    secret = folder / "secret"
    secret.touch(mode=0o600)
    log = of_nobody(folder / "logs") / "access.log"
    with serving_as_nobody(folder, python, "--access-log", str(log)) as server:
        fresh_answer(server)
        log.unlink()
        log.symlink_to(secret)
        server.send(signal.SIGUSR1)
        wait_for(lambda: "cannot reopen" in server.stderr, "the worker to fail")
        fresh_answer(server)
        assert secret.read_text() == ""


# ------------------------------------------------------------ the PID file


def test_a_pid_file_is_written_under_a_name_that_nobody_can_know(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "pid"
    victim.write_text("precious")
    (tmp_path / f".pid.{os.getpid()}").symlink_to(victim)
    PidFile(str(path)).write()
    assert victim.read_text() == "precious"
    assert path.read_text() == f"{os.getpid()}\n"
    assert not path.is_symlink()


def test_a_pid_file_replaces_a_link_and_follows_none(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "pid"
    victim.write_text("1")
    path.symlink_to(victim)
    with pytest.raises(Exception, match="Too many levels of symbolic links"):
        PidFile(str(path)).claim()
    PidFile(str(path)).write()
    assert (victim.read_text(), path.is_symlink()) == ("1", False)


def test_a_fifo_in_its_place_does_not_keep_the_server_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    PidFile(str(tmp_path / "pid")).claim()


# ------------------------------------------------------------ code

TELLTALE = "import os\nopen({path!r}, 'a').write(f'{{os.geteuid()}} {{__name__}} ')\nraise ImportError('a trap')\n"

TRAPS = ("argparse", "typing", "json", "tomllib", "logging", "select", "ctypes", "subprocess", "watchfiles", "grp")
"""Modules that the command, the supervisor and the watcher import. (`python -m` itself imports importlib.)"""


def lay_traps(folder: Path) -> Path:
    told = folder / "told"
    told.touch(mode=0o666)
    told.chmod(0o666)
    for name in TRAPS:
        (folder / f"{name}.py").write_text(TELLTALE.format(path=str(told)))
    return told


def test_the_current_folder_gives_no_module_to_the_command(folder: Path) -> None:
    (folder / "allcomers.toml").write_text("workers = 1\n")  # needs tomllib
    told = lay_traps(folder)
    site = folder / "site"
    site.mkdir()
    command = [sys.executable, "-m", "allcomers", "serve", str(site), "--check-config"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (found.returncode, told.read_text()) == (0, ""), found.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("flags", [[], ["--umask", "022"]], ids=["ours", "gunicorn's"])
def test_no_code_of_the_current_folder_runs_as_root(folder: Path, python: str, flags: list[str]) -> None:
    told = lay_traps(folder)
    has_watchfiles = subprocess.run([python, "-c", "import watchfiles"], capture_output=True).returncode == 0
    watcher = ["--reload"] if has_watchfiles else []
    (folder / "allcomers.toml").write_text("workers = 1\n")
    with serving_as_nobody(folder, python, *watcher, *flags, cwd=folder) as server:
        fresh_answer(server)
        server.send(signal.SIGHUP)
        wait_for(lambda: "reloading" in server.stderr, "the reload")
        fresh_answer(server)
    assert "0" not in told.read_text().split()[::2]


@root_only
def test_the_watcher_runs_as_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not that user can read this Python: then it ends, and the supervisor says so."""
    from allcomers.server.privileges import Account
    from allcomers.server.supervisor.file_watcher import FileWatcher

    stand_in = folder / "python"
    stand_in.write_text(f"#!/bin/sh\nid -u > {folder}/told/user\nid -G >> {folder}/told/user\nexec sleep 60\n")
    stand_in.chmod(0o755)
    of_nobody(folder / "told")
    monkeypatch.setattr(sys, "executable", str(stand_in))
    watcher = FileWatcher((), (), Account(NOBODY, NOBODY, "nobody", "/"))
    try:
        wait_for(lambda: (folder / "told/user").exists() and (folder / "told/user").read_text().count("\n") == 2, "it")
        assert (folder / "told/user").read_text() == f"{NOBODY}\n{NOBODY}\n"
    finally:
        watcher.close()


# ------------------------------------------------------------ Unix sockets


def access_of(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_whatever_the_umask(app: App, tmp_path: Path, mode: int) -> None:
    path, admin = tmp_path / "http.sock", tmp_path / "admin.sock"
    options = ["--admin", f"unix:{admin}", "--uds-mode", f"{mode:o}"]
    with serving("run", app.target, *options, bind=f"unix:{path}"):
        assert access_of(path) == (mode, os.geteuid(), os.getegid())
        assert access_of(admin) == (mode, os.geteuid(), os.getegid())
        (tmp_path / "probe").touch()
        assert (tmp_path / "probe").stat().st_mode & 0o777 == 0o644  # of this process; the server's is as it was


@root_only
@pytest.mark.parametrize(
    ("owner", "uid", "gid"), [("nobody", NOBODY, 0), ("nobody:4", NOBODY, 4), (":4", 0, 4), ("1234:", 1234, 0)]
)
def test_a_unix_socket_has_its_owner(app: App, tmp_path: Path, owner: str, uid: int, gid: int) -> None:
    path, admin = tmp_path / "http.sock", tmp_path / "admin.sock"
    options = ["--admin", f"unix:{admin}", "--uds-owner", owner, "--uds-mode", "660"]
    with serving("run", app.target, *options, bind=f"unix:{path}"):
        assert access_of(path) == (0o660, uid, gid)
        assert access_of(admin) == (0o660, uid, gid)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--uds-mode", "9"], "--uds-mode: '9' is not a mode in octal, such as 660"),
        (["--uds-mode", "660"], "--uds-mode and --uds-owner need a --bind or an --admin of the form unix:PATH"),
        (["--admin", "unix:x", "--uds-owner", "no-such-user"], "--uds-owner no-such-user: there is no such user"),
        (["--admin", "unix:x", "--uds-owner", ":no-such"], "--uds-owner no-such: there is no such group"),
    ],
)
def test_what_cannot_be_is_one_line(app: App, options: list[str], says: str) -> None:
    command = [sys.executable, "-m", "allcomers", "run", app.target, "-b", "127.0.0.1:0", *options]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert found.returncode == 2
    assert found.stderr.startswith(f"allcomers: {says}")
    assert found.stderr.count("\n") == 1

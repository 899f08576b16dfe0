"""The flags of gunicorn and uvicorn: the translation of each, and that docs/moving.md lists the same."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from allcomers.config.migration import Translation, doubts, translate
from allcomers.config.migration.env_file import variables
from allcomers.config.migration.flags import GUNICORN, UVICORN
from allcomers.errors import ConfigError
from support.crowd import exchange
from support.deployed import ASGI, WSGI
from support.harness import PATIENCE, ROOT, serving, wait_for

PAGE = (ROOT / "docs" / "moving.md").read_text(encoding="utf-8")


def moved(line: str, environ: dict[str, str] | None = None) -> Translation:
    found = translate(["app:app", *line.split()], environ or {})
    assert found is not None
    assert found.arguments[0] == "app:app"
    return found


# ------------------------------------------------------------ translations


@pytest.mark.parametrize(
    ("line", "ours", "expected"),
    [
        ("--host 0.0.0.0 --port 80", "--bind=0.0.0.0:80", "--host 0.0.0.0 --port 80: taken as --bind 0.0.0.0:80"),
        ("--port=80", "--bind=127.0.0.1:80", "--port 80: taken as --bind 127.0.0.1:80"),
        ("--host ::1", "--bind=[::1]:8000", "--host ::1: taken as --bind [::1]:8000"),
        ("--uds /run/x", "--bind=unix:/run/x", "--uds /run/x: taken as --bind unix:/run/x"),
        ("--fd 3", "--bind=fd://3", "--fd 3: taken as --bind fd://3"),
        ("--ssl-certfile a --ssl-keyfile b", "--certfile=a --keyfile=b", "--ssl-certfile a: taken as --certfile a"),
        ("--keep-alive 0", "--max-requests-per-connection=1", "taken as --max-requests-per-connection 1"),
        ("--timeout-keep-alive 0", "--max-requests-per-connection=1", "taken as --max-requests-per-connection 1"),
        ("--timeout-keep-alive 5", "--keep-alive=5", "--timeout-keep-alive 5: taken as --keep-alive 5"),
        ("--timeout 120", "--hang-timeout=120", "--timeout 120: taken as --hang-timeout 120"),
        ("-p x -u y -g z", "--pid=x --user=y --group=z", "-p x: taken as --pid x"),
        ("--no-access-log", "--access-log=off", "--no-access-log: taken as --access-log off"),
        ("--access-log -w 2", "--access-log=- -w=2", "--access-log: taken as --access-log -"),
        ("-w 2 --access-log", "-w=2 --access-log=-", "--access-log: taken as --access-log -"),
        ("--access-log - --no-sendfile", "--access-log=-", "--no-sendfile: ignored, files are sent by sendfile(2)"),
        ("--log-level trace", "--log-level=debug", "--log-level trace: taken as --log-level debug"),
        ("--interface asgi3", "--interface=asgi", "--interface asgi3: taken as --interface asgi"),
        ("--proxy-protocol v2", "--proxy-protocol", "--proxy-protocol v2: taken as --proxy-protocol"),
        ("--proxy-protocol off", "", "--proxy-protocol off: ignored, it is the default"),
        ("--ws-per-message-deflate False", "--ws-deflate=off", "taken as --ws-deflate off"),
        ("--asgi-disconnect-grace-period 5", "--disconnect-grace=5", "taken as --disconnect-grace 5"),
        ("--asgi-disconnect-grace-period 0", "--disconnect-grace=0.001", "taken as --disconnect-grace 0.001"),
        ("--no-proxy-headers", "--forwarded-allow-ips=", "taken as --forwarded-allow-ips '': no proxy is trusted"),
        ("--http-protocols h1", "--http=1.1", "--http-protocols h1: taken as --http 1.1"),
        ("--http-protocols h2,h1", "--http=auto", "taken as --http auto"),
        ("--http2", "", "--http2: ignored, HTTP/2 is spoken by default"),
        ("--http h11", "", "--http h11: ignored, there is one parser"),
        ("--http 1.1", "--http=1.1", "--http 1.1: taken as --http 1.1"),
        ("--error-logfile -", "", "--error-logfile -: ignored, the log always goes to standard error"),
        ("--error-logfile /dev/stderr", "", "/dev/stderr: ignored, the log always goes to standard error"),
        ("--log-file=/proc/self/fd/2", "", "/proc/self/fd/2: ignored, the log always goes to standard error"),
        ("--log-file /dev/fd/2", "", "--log-file /dev/fd/2: ignored, the log always goes to standard error"),
        ("--log-file /dev/stdout", "", "--log-file /dev/stdout: taken as 2>&1, standard error goes where"),
        ("--logger-class gunicorn.glogging.Logger", "", "Logger: ignored, that is always so"),
        ("-t 0", "--hang-timeout=0", "-t 0: taken as --hang-timeout 0"),
        ("-m 007", "--umask=0007", "-m 007: taken as --umask 0007"),
        ("--umask 18", "--umask=0022", "--umask 18: taken as --umask 0022"),
        ("--no-sendfile -m epoll", "-m=epoll", "--no-sendfile: ignored, files are sent by sendfile(2)"),
        ("--limit-request-line 8190", "", "ignored, --max-head-size limits the whole head"),
        (
            "--limit-request-line 8190 --limit-request-field_size 65536",
            "--max-head-size=65536",
            "--limit-request-line 8190 --limit-request-field_size 65536: taken as --max-head-size 65536",
        ),
        ("--limit-request-field_size 0", "--max-head-size=1048576", "taken as --max-head-size 1048576"),
        ("--max-head-size 1M --limit-request-line 0", "--max-head-size=1M", "ignored"),
        ("--ssl-ca-certs a --ssl-cert-reqs 2", "--ca-certs=a", "a --ssl-cert-reqs 2: taken as --ca-certs a"),
        ("--ssl-ca-certs a", "", "--ssl-ca-certs a: ignored, clients need no certificate"),
        (
            "--ssl-ca-certs a --ssl-cert-reqs 1",
            "--ca-certs=a --client-cert=optional",
            "a --ssl-cert-reqs 1: taken as --ca-certs a --client-cert optional",
        ),
        ("--ca-certs a --cert-reqs 1", "--ca-certs=a --client-cert=optional", "taken as --client-cert optional"),
        ("--ssl-ciphers HIGH", "--ciphers=HIGH", "--ssl-ciphers HIGH: taken as --ciphers HIGH"),
        ("--ca-certs a --cert-reqs 2", "--ca-certs=a", "--cert-reqs 2: as --ca-certs sets it"),
        ("-c x.toml", "--config=x.toml", "-c x.toml: taken as --config x.toml"),
    ],
)  # fmt: skip
def test_a_flag_is_translated(line: str, ours: str, expected: str) -> None:
    found = moved(line)
    assert found.arguments[1:] == ours.split()
    assert any(expected in report for report in found.lines)


@pytest.mark.parametrize(
    ("line", "ours", "expected"),
    [
        ("-k sync", "--calls=inline", "-k sync: taken as --calls inline"),
        ("-ksync --threads 4", "--threads=4 --calls=pool", "-k sync: taken as --calls pool --threads 4"),
        ("--worker-class gthread --threads 4", "--threads=4 --calls=pool", "taken as --calls pool --threads 4"),
        ("--worker-class=gthread", "--calls=pool", "--worker-class gthread: taken as --calls pool"),
        ("-k gunicorn.workers.gthread.ThreadWorker", "--calls=pool", "taken as --calls pool"),
        ("-k gevent", "--model=gevent", "-k gevent: taken as --model gevent"),
        ("-k gunicorn.workers.ggevent.GeventWorker", "--model=gevent", "taken as --model gevent"),
        ("-k eventlet", "--calls=pool", "taken as --calls pool; calls wait in threads, not in greenlets"),
        ("-k tornado", "--calls=inline", "taken as --calls inline"),
        ("-k uvicorn.workers.UvicornWorker", "--model=asyncio", "taken as --model asyncio"),
        ("-k uvicorn.workers.UvicornH11Worker", "--model=asyncio", "taken as --model asyncio"),
        ("-k uvicorn_worker.UvicornWorker", "--model=asyncio", "taken as --model asyncio"),
        ("-k asgi", "--model=asyncio", "taken as --model asyncio"),
        ("-k mypkg.MyUvicornWorker", "--model=asyncio", "taken as --model asyncio; its CONFIG_KWARGS are not read"),
        ("-k a.b_c.UvicornWorker", "--model=asyncio", "-k a.b_c.UvicornWorker: taken as --model asyncio; its CONFIG_"),
        ("-k a.b.OwnUvicornH11Worker", "--model=asyncio", "-k a.b.OwnUvicornH11Worker: taken as --model asyncio"),
        ("-k a.OwnUvicornWorker -m poll", "-m=poll", "-k a.OwnUvicornWorker: ignored, your own flags set it"),
        ("-k egg:gunicorn#gevent", "--model=gevent", "-k egg:gunicorn#gevent: taken as --model gevent"),
        ("-k gevent --model thread", "--model=thread", "-k gevent: ignored, your own flags set it"),
        ("-k asgi --model epoll", "--model=epoll", "-k asgi: ignored, your own flags set it"),
    ],
)
def test_a_worker_class_is_translated_to_a_model(line: str, ours: str, expected: str) -> None:
    found = moved(line)
    assert found.arguments[1:] == ours.split()
    assert expected in found.lines[-1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--daemon", "--daemon: a server stays in the foreground: let systemd start it"),
        ("-D", "-D: a server stays in the foreground"),
        ("-k meinheld.gmeinheld.MeinheldWorker", "there is no such worker here: leave it out"),
        ("-k a.workers.ConfigurableWorker", "if it extends uvicorn's, write -k uvicorn.workers.UvicornWorker"),
        ("-k aiohttp.GunicornWebWorker", "an app of aiohttp has a server of its own"),
        ("-k geventwebsocket.gunicorn.workers.GeventWebSocketWorker", "-k gevent serves them, or --model thread"),
        ("--logger-class a.Logger", "--logger-class a.Logger: the log is Python's own"),
        ("--log-file /proc/1/fd/2", "--log-file /proc/1/fd/2: the log goes to standard error: write 2>>/proc/1/fd/2"),
        ("--error-logfile x", "--error-logfile x: the log goes to standard error: write 2>>x in a shell"),
        ("--http2-max-concurrent-streams 9", "--http2-max-concurrent-streams: the limits of HTTP/2 are fixed"),
        ("--http-protocols h3", "--http-protocols h3: of h1 and h2"),
        ("--cert-reqs 1", "name by --ca-certs the authorities"),
        ("--cert-reqs 3", "it is 0, 1 or 2"),
        ("--cert-reqs 0 --ca-certs x", "leave out --ca-certs"),
        ("--ssl-cert-reqs 2", "name by --ca-certs the authorities"),
        ("--limit-request-line x", "--limit-request-line x: it is not a number of bytes"),
        ("-m 9x", "-m 9x: it is not a mask from 0 to 0777"),
        ("-m 0o1000", "-m 0o1000: it is not a mask from 0 to 0777"),
        ("--env x", "--env x: it is not NAME=VALUE"),
        ("--port", "--port: expected one argument"),
        ("--port --reload", "--port: expected one argument"),
        ("--ws-per-message-deflate x", "--ws-per-message-deflate: 'x' is neither on nor off"),
        (
            "-k sync -t 120",
            "-t is --threads here and --timeout in gunicorn: write the one that you mean, --timeout 120 or",
        ),
    ],
)
def test_a_flag_without_an_equivalent_is_refused(line: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        moved(line)
    assert expected in str(caught.value)


def test_a_mask_is_read_as_gunicorn_reads_it() -> None:
    taken = {text: moved(f"-m {text}").arguments[1:] for text in ("0", "8", "010", "0o10", "0x8", "0777")}
    assert taken == {
        "0": ["--umask=0000"], "0777": ["--umask=0777"],
        **{text: ["--umask=0010"] for text in ("8", "010", "0o10", "0x8")},
    }  # fmt: skip


@pytest.mark.parametrize("line", ["", "-w 4 -t 8 -b :80 --reload", "--frob x", "--model x -m y --", "--workers x"])
def test_a_firstin_our_words_is_left_alone(line: str) -> None:
    assert translate(["app:app", *line.split()], {}) is None


@pytest.mark.parametrize("line", ["-b :80 -t 120", "-w 2 -t30", "--bind=:80 -t=45", "--workers 4 -t 600", "-t 100 -w1"])
def test_threads_that_look_like_seconds_are_reported(line: str) -> None:
    found = re.search(r"-t[ =]?(\d+)", line)
    assert found is not None
    assert doubts(["app:app", *line.split()]) == [
        f"-t {found[1]}: taken as --threads {found[1]}; gunicorn's -t is --timeout"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "-t 120",
        "-b :80 -t 8",
        "-b :80 -t 32",
        "-w 2 -t 64",
        "-w 2 --threads 120",
        "--root-path=-t -w 120",
        "-t 30x",
        "-w 2 --user -t 120",
    ],
)
def test_others_are_not(line: str) -> None:
    assert doubts(["app:app", *line.split()]) == []


def test_the_value_of_one_of_ours_is_no_flag() -> None:
    found = moved("--no-sendfile --root-path /--no-sendfile")
    assert found.arguments[1:] == ["--root-path=/--no-sendfile"]
    assert len(found.lines) == 1


def test_sources_of_gunicorn_that_are_not_read_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gunicorn.conf.py").write_text("")
    lines = moved("--no-sendfile", {"GUNICORN_CMD_ARGS": "-w 4"}).lines
    assert lines[1:] == [
        "GUNICORN_CMD_ARGS is not read by `run`: start by `allcomers gunicorn` (docs/moving.md)",
        "gunicorn.conf.py is not read by `run`: start by `allcomers gunicorn` (docs/moving.md)",
    ]
    assert len(moved("--port 80", {"GUNICORN_CMD_ARGS": "-w 4"}).lines) == 1


# ------------------------------------------------------------ states of the process


def test_files_of_variables(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# a comment\n\nA=1\n"
        " export B = 'x # y' # z\nC=\"a\\nb\\\"c\" \nD=a b#c # d\nE=\nF=x=y\nG.h='multi word'\nI=\\n\n"
    )
    assert variables(str(file)) == {
        "A": "1", "B": "x # y", "C": 'a\nb"c', "D": "a b#c", "E": "", "F": "x=y", "G.h": "multi word", "I": "\\n",
    }  # fmt: skip
    for bad in ("A", "=1", "1A=2", "A='x", 'A="x', "A=\0"):
        file.write_text(f"B=1\n{bad}\n")
        with pytest.raises(ConfigError, match=r"\.env, line 2: it is not NAME=VALUE"):
            variables(str(file))
    with pytest.raises(ConfigError, match=r"^cannot read 'nowhere': No such file or directory$"):
        variables("nowhere")


def test_a_process_as_the_others_leave_it(tmp_path: Path) -> None:
    """Environment, module path and umask; a file of variables is weaker than the environment."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "app.py").write_text(
        "import os, allcomers\n\n\nclass App(allcomers.Web):\n    def get(self, request):\n"
        "        return ' '.join(os.environ[name] for name in ('ONE', 'TWO', 'THREE'))\n"
    )
    env_file = tmp_path / ".env"
    env_file.write_text("ONE=file\nTWO=file\nALLCOMERS_WORKERS=2\n")
    socket = tmp_path / "socket"
    arguments = [
        "run", "app:App", "--app-dir", str(tmp_path / "lib"), "--env-file", str(env_file),
        "-e", "THREE=flag", "-m", "007", "--uds", str(socket),
    ]  # fmt: skip
    with serving(*arguments, env={"ONE": "environment", "THREE": "environment"}) as server:
        assert stat.S_IMODE(socket.stat().st_mode) == 0o770
        assert len(server.workers()) == 2
        assert server.stderr.splitlines()[:5] == [
            f"allcomers: --app-dir {tmp_path / 'lib'}: taken as PYTHONPATH={tmp_path / 'lib'}",
            f"allcomers: --env-file {env_file}: its variables are set in the environment, unless they are set already",
            "allcomers: -e THREE=...: set in the environment",
            "allcomers: -m 007: taken as --umask 0007",
            f"allcomers: --uds {socket}: taken as --bind unix:{socket}",
        ]
        server.send(1)  # HUP says none of it again
        with server.connect() as sock:
            assert exchange(sock).body == b"environment file flag"
        assert server.stderr.count("taken as") == 3


# ------------------------------------------------------------ command lines as they are found


FOUND = [
    "app:app --workers 3 --bind unix:SOCKET -m 007",
    "--bind 0.0.0.0:0 --workers 3 --access-logfile /dev/stdout --error-logfile /dev/stderr --preload app:app",
    "app:app -b 127.0.0.1:0 --log-level INFO --error-logfile /dev/stdout --access-logfile /dev/stderr --name api",
    "-t 0 -w 1 -b 127.0.0.1:0 app:app --access-logfile - --access-logformat %(h)s",
    "-t 300 -b :0 -w 1 app:create_app()",
    "-k egg:gunicorn#gevent app:application -b :0",
    "deployed:app -k deploy.uvicorn_worker.UvicornWorker -b :0 --access-logfile /dev/stdout --log-file /dev/stdout",
    "deployed:app -b :0 -k uvicorn_worker.UvicornWorker --logger-class gunicorn.glogging.Logger --capture-output",
    "deployed:app --host=0.0.0.0 --port=0 --ws=none --no-server-header --no-access-log --timeout-keep-alive=35",
    "--factory deployed:create_app --host 0.0.0.0 --port 0 --proxy-headers --forwarded-allow-ips * --no-server-header",
]
"""Command lines of public projects (Dockerfiles, Procfiles, units), with other names. They once were refused."""


@pytest.mark.parametrize("line", FOUND)
def test_a_command_firstthat_others_use_is_served(tmp_path: Path, line: str) -> None:
    (tmp_path / "app.py").write_text(WSGI)
    (tmp_path / "deployed.py").write_text(ASGI)
    words = line.replace("SOCKET", str(tmp_path / "socket")).split()
    command = [sys.executable, "-m", "allcomers", "run", *words]
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **outputs) as process:
        try:
            assert process.stdout is not None
            first = next((line for line in process.stdout if "Listening at" in line), "")
            found = re.search(r"://.+:(\d+) |unix:(\S+) ", first)
            assert found is not None
            address = ("127.0.0.1", int(found[1])) if found[1] else found[2]
            with socket.socket(socket.AF_INET if found[1] else socket.AF_UNIX) as sock:
                sock.connect(address)
                assert exchange(sock).body == b"ok"
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_mask_may_have_its_short_name(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(WSGI)
    path = tmp_path / "socket"
    with serving("run", "app:app", "-m", "007", bind=f"unix:{path}", cwd=tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o770


@pytest.mark.parametrize(("option", "to_output"), [("/dev/stdout", True), ("/dev/stderr", False)])
def test_where_the_log_goes(tmp_path: Path, option: str, to_output: bool) -> None:
    (tmp_path / "app.py").write_text(WSGI)
    command = [sys.executable, "-m", "allcomers", "run", "app:app", "--error-logfile", option, "-b", "127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process, ThreadPoolExecutor(2) as pool:
        outputs = [process.stdout, process.stderr]
        seen = [pool.submit(seen_in, stream, process) for stream in outputs if stream is not None]
        assert [future.result() for future in seen] == [to_output, not to_output]


def seen_in(stream: IO[str], process: subprocess.Popen[str]) -> bool:
    """Return True if `process` reports there that it listens; then end it."""
    for line in stream:
        if "Listening at" in line:
            process.terminate()
            return True
    return False


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-c python:gunicorn_config", "python:gunicorn_config is Python, and options are read as TOML"),
        ("-b 0.0.0.0 --check-config", "unix:PATH or fd://N; perhaps 0.0.0.0:8000"),
        ("-b 8000 --check-config", "unix:PATH or fd://N; perhaps :8000"),
        ("--log-level loud", "--log-level: 'loud' is not known; choose one of debug"),
    ],
)
def test_a_refusal_names_an_alternative(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "app.py").write_text(WSGI)
    command = [sys.executable, "-m", "allcomers", "run", "app:app", *line.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert expected in done.stderr.splitlines()[-1]


def test_seconds_are_reported_once(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(WSGI)
    with serving("run", "app:app", "-t", "120", "-w", "1", cwd=tmp_path) as server:
        server.send(1)
        wait_for(lambda: "reloading" in server.stderr, "HUP")
        assert server.stderr.count("allcomers: -t 120: taken as --threads 120; gunicorn's -t is --timeout\n") == 1


def test_other_starts_do_not_load_it() -> None:
    """The tables are not loaded for a command line that is understood as it stands."""
    code = (
        "import sys\nfrom allcomers.commands.main import main\n"
        "main(['run', 'x:y', '-w', '2', '--print-config'])\n"
        "print([name for name in ('tomllib', 'difflib', 'allcomers.config.migration') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("ALLCOMERS_")},
    )  # fmt: skip
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_tables_stay_with_run() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "allcomers", "serve", "--port", "80"],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (result.returncode, "unrecognized arguments: --port" in result.stderr) == (2, True)


# ------------------------------------------------------------ the page


def rows(tool: str) -> dict[str, str]:
    """Return {flag: its cell} of the table of a tool."""
    section = PAGE.partition(f"## Options of {tool}\n")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        if line.startswith("| `-"):
            flags, _, what = line.strip("| ").partition(" | ")
            for flag in re.findall(r"`(-[\w-]+)", flags):
                assert flag not in found, f"{flag} has two rows"
                found[flag] = what
    return found


FLAGS = [
    (tool, flag, len(key.split()) > len(re.findall(r"(?<!\S)-", key)))
    for tool, table in (("gunicorn", GUNICORN), ("uvicorn", UVICORN))
    for key in table
    for flag in key.split()
    if flag.startswith("-")
]

VALUES = {
    "--cert-reqs": "0",
    "--ssl-cert-reqs": "0",
    "--env": "A=B",
    "-e": "A=B",
    "--worker-class": "gthread",
    "-k": "gthread",
    "--error-logfile": "x",
    "--log-file": "x",
}


@pytest.mark.parametrize(("tool", "flag", "takes"), FLAGS)
def test_the_page_lists_the_rule_of_each_flag(tool: str, flag: str, takes: bool) -> None:
    row = rows(tool)[flag]
    value = VALUES.get(flag, "1") if takes else ""
    try:
        found = moved(f"{flag} {value}")
    except ConfigError:
        assert "none" in row or "no equivalent" in row
        return
    words = re.findall(r"--[\w-]+", " ".join(found.arguments)) + [f"--{name}" for name in found.weak]
    if found.environment or found.env_files or found.paths:
        assert row.startswith("translated")
    elif words:
        for word in words:
            assert f"`{word.replace('_', '-')}" in row
    else:
        assert "not needed" in row or "if it is above" in row


@pytest.mark.parametrize("tool", ["gunicorn", "uvicorn"])
def test_the_page_s_other_flags_are_ours(tool: str) -> None:
    """Flags with a row, but not in the code's tables, have the same name here."""
    known = {flag for name, flag, _ in FLAGS if name == tool}
    help_text = subprocess.run(
        [sys.executable, "-m", "allcomers", "run", "--help-all"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    clashes = {"-c", "-t", "-m", "-p", "-u", "-g", "-v", "--version"}
    for flag in rows(tool).keys() - known - clashes:
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", help_text), f"{flag} is neither ours nor in the table of {tool}"


def test_what_the_other_page_names_is_ours() -> None:
    """Granian's, hypercorn's and waitress' flags are not translated: what stands beside them must be there."""
    page = (ROOT / "docs" / "moving-others.md").read_text(encoding="utf-8")
    help_text = subprocess.run(
        [sys.executable, "-m", "allcomers", "run", "--help-all"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert len(cells) > 80
    for theirs, ours in cells:
        flags = re.findall(r"`-[\w-]+|--[\w-]+", theirs if ours.startswith("the same") else ours)
        for flag in flags:
            name = flag.strip("`").replace("--no-server", "--server")
            translated = name in ("--env-file", "-w", "-b")
            assert translated or re.search(rf"(?<![\w-]){name}(?![\w-])", help_text), (theirs, name)

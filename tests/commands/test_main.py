"""The command line of a user: exit codes, one clear line for each mistake, addresses, the first output."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allcomers import __version__
from allcomers.config import options as configs
from allcomers.models import TABLE
from allcomers.protocol.compiled import KIND
from support.crowd import exchange, receive, request
from support.harness import PATIENCE, ROOT, Server, ask, serving, wait_for

SITE = "examples/site"


def allcomers(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    command = [sys.executable, "-m", "allcomers", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=30)


def refused(*arguments: str, status: int = 2, cwd: Path = ROOT) -> str:
    """Run a command that fails with `status`, and return its one line."""
    result = allcomers(*arguments, cwd=cwd)
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("allcomers: ")
    return line.removeprefix("allcomers: ")


# ------------------------------------------------------------ help


@pytest.mark.parametrize(
    ("arguments", "lines", "columns"),
    [
        ([], 24, 80),
        (["--help"], 24, 80),
        (["-h"], 24, 80),
        (["models", "-h"], 24, 80),
        (["serve", "--help"], 50, 100),
        (["run", "-h"], 50, 100),
    ],
)
def test_help_fits_a_screen(arguments: list[str], lines: int, columns: int) -> None:
    result = allcomers(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    output = result.stdout.splitlines()
    assert output[0].startswith("usage: allcomers")
    assert len(output) <= lines
    assert max(map(len, output)) <= columns


@pytest.mark.parametrize("command", ["serve", "run"])
def test_all_options_are_shown_on_demand(command: str) -> None:
    few, everything = (allcomers(command, flag).stdout for flag in ("--help", "--help-all"))
    for name, _, option in configs.known(command):
        for flag in option.flags:
            assert re.search(rf"(^| ){flag}\b", everything, re.M)
            assert bool(re.search(rf" {flag}[ ,]", few)) == (name in configs.COMMON)
    assert max(map(len, everything.splitlines())) <= 100
    assert "-- " not in everything
    assert re.findall(r"--no-[\w-]+", everything) == [
        *("--no-gather", "--no-server-header", "--no-date-header"),
    ]


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag: str) -> None:
    result = allcomers(flag)
    assert result.returncode == 0
    assert result.stdout == f"allcomers {__version__} ({KIND}) on Python {sys.version.split()[0]}\n"


def test_models_lists_each_with_its_obstacle() -> None:
    result = allcomers("models")
    assert result.returncode == 0
    states = dict(re.findall(r"^(\S+) +(runs here.*|needs .+)$", result.stdout, re.M))
    assert list(states) == list(TABLE)
    for name, model in TABLE.items():
        assert states[name].startswith(model.obstacle or "runs here")
    assert sum("the default" in state for state in states.values()) == 1


@pytest.mark.skipif(hasattr(select, "kqueue"), reason="kqueue runs here")
def test_a_model_that_this_system_lacks() -> None:
    assert "kqueue       needs kqueue(2), which macOS and BSD have" in allcomers("models").stdout
    line = refused("serve", SITE, "-m", "kqueue")
    assert line == "--model kqueue cannot run on this system: it needs kqueue(2), which macOS and BSD have"


# ------------------------------------------------------------ bad options: 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["frob"],
            "there is no command 'frob'; the commands are serve, run, dev, gunicorn, uvicorn, doctor, models, load, ",
        ),
        (["--frob"], "there is no command '--frob'"),
        (["serve", SITE, "--frob"], "unrecognized arguments: --frob"),
        (["serve", SITE, "--work", "2"], "unrecognized arguments: --work"),  # an abbreviation may change its meaning
        (["serve", SITE, "more"], "unrecognized arguments: more"),
        (["serve", SITE, "--bind"], "expected one argument"),
        (["run"], "TARGET is missing: MODULE:NAME or FILE.py:NAME"),
        (["models", "more"], "allcomers models takes no arguments"),
        (["serve", SITE, "-m", "frob"], f"'frob' is not known; choose one of {', '.join(TABLE)}"),
        (["serve", SITE, "--calls", "x"], "--calls: 'x' is not known; choose one of inline, pool, auto"),
        (["serve", SITE, "-w", "0"], "--workers: '0' is not a whole number from 1 on"),
        (["serve", SITE, "-w", "-1"], "--workers: '-1' is not a whole number from 1 on"),
        (["serve", SITE, "-w", "\u0663"], "is not a whole number"),
        (["serve", SITE, "-t", "1e3"], "--threads: '1e3' is not a whole number"),
        (["serve", SITE, "--max-connections", "0"], "--max-connections: '0' is not a whole number from 1 on"),
        (["serve", SITE, "--head-timeout", "0"], "--head-timeout: '0' is not a number of seconds above 0"),
        (["serve", SITE, "--keep-alive", "nan"], "--keep-alive: 'nan' is not a number of seconds above 0"),
        (["serve", SITE, "--graceful-timeout", "inf"], "'inf' is not a number of seconds above 0"),
        (["serve", SITE, "--min-rate", "-1"], "--min-rate: '-1' is not a number of bytes per second, or 0"),
        (["serve", SITE, "--max-body", "1X"], "--max-body: '1X' is not a size"),
        (["serve", SITE, "--max-head-size", ""], "--max-head-size: '' is not a size"),
        (["serve", SITE, "--log-level", "loud"], "--log-level: 'loud' is not known"),
        (["serve", SITE, "--access-log-format", "xml"], "choose one of combined, common, json"),
        (["serve", SITE, "--access-log", "/nowhere/log"], "cannot open '/nowhere/log': No such file or directory"),
        (["serve", SITE, "-b", "nonsense"], "--bind 'nonsense' is not HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N"),
        (["serve", SITE, "-b", "::1:80"], "--bind '::1:80' is not HOST:PORT"),
        (["serve", SITE, "-b", ":65536"], "'65536' is not a number from 0 to 65535"),
        (["serve", SITE, "-b", "fd://x"], "'x' is not a number"),
        (["serve", SITE, "-b", "unix:"], "--bind unix:PATH needs a path"),
        (["serve", "nowhere"], "no such folder: nowhere"),
        (["serve", "LICENSE"], "not a folder: LICENSE"),
        (["serve", SITE, "--certfile", "nowhere.pem"], f"--certfile '{ROOT}/nowhere.pem': No such file or directory"),
        (
            ["serve", SITE, "--certfile", "LICENSE"],
            f"--certfile '{ROOT}/LICENSE': there is no CERTIFICATE in PEM form in it",
        ),
        (["serve", SITE, "--keyfile", "LICENSE"], "need --certfile"),
        (["serve", SITE, "--ca-certs", "LICENSE"], "need --certfile"),
        (["serve", SITE, "--keyfile", "a", "--certfile", "b", "--keyfile", "c"], "there are 2 for 1 --certfile"),
        (["serve", SITE, "--max-requests-jitter", "5"], "--max-requests-jitter needs --max-requests"),
        (["serve", SITE, "-b", ":8000", "-b", ":8000"], "--bind :8000 is given twice"),
        (["serve", SITE, "--interface", "wsgi"], "unrecognized arguments: --interface wsgi"),  # a site is no app
        (["serve", SITE, "--access-log-format", "%(nothing)s"], "%(nothing)s"),
        (["serve", SITE, "--chdir", "nowhere"], "--chdir 'nowhere': No such file or directory"),
        (["run", "examples/echo.py:"], "is not MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE"),
        (["run", ":Echo"], "is not MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE"),
        (["run", "..echo:Echo"], "is not MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE"),
    ],
)
def test_a_bad_option_is_reported_in_one_line(arguments: list[str], expected: str) -> None:
    port = [] if "-b" in arguments or "--bind" in arguments or arguments[0] not in ("serve", "run") else ["-b", ":0"]
    assert expected in refused(*arguments, *port)


def test_a_bad_certificate_authority(certificate: Any) -> None:
    line = refused("serve", SITE, "-b", ":0", "--certfile", str(certificate.pem), "--ca-certs", "LICENSE")
    assert line.startswith(f"--ca-certs '{ROOT}/LICENSE': no usable certificate")


# ------------------------------------------------------------ addresses that cannot be used: 1


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused("serve", SITE, "-b", f"127.0.0.1:{port}", status=1)
    assert line == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
        "another program listens there; --bind takes another address (port 0: a free port)"
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1:0", "Cannot assign requested address"),  # TEST-NET-1 (RFC 5737): nobody's
        ("256.1.1.1:0", "cannot listen on 256.1.1.1:0: "),
        ("unix:/nowhere/socket", "No such file or directory"),
        ("unix:LICENSE", "File exists"),
        ("fd://99", "Bad file descriptor"),
        ("fd://2", "Socket operation on non-socket"),
    ],
)
def test_an_address_that_cannot_be_used(address: str, expected: str) -> None:
    assert expected in refused("serve", SITE, "-b", address, status=1)


def test_a_unix_socket_in_use(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "socket"))
        other.listen()
        line = refused("serve", SITE, "-b", f"unix:{tmp_path / 'socket'}", status=1)
    assert "another program listens there" in line


# ------------------------------------------------------------ apps that cannot be loaded: 3


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("nowhere:app", "there is no module 'nowhere' here (in "),
        ("examples.nowhere:app", "there is no module 'examples.nowhere' here (in "),
        ("nowhere.py:app", "there is no file 'nowhere.py'"),
        ("examples/echo.py", "examples/echo.py has neither application nor app: say examples/echo.py:NAME; it has: "),
        ("examples/echo.py:Nowhere", "examples/echo.py has no 'Nowhere'; it has: "),
        ("examples/echo.py:Echo.nowhere", "examples/echo.py has no 'Echo.nowhere'; it has: "),
        ("allcomers:__version__", f"'{__version__}' cannot be served; an app is a Web or a Service class, "),
        ("allcomers.config.options:Config", "Config is a class but no Web"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_target_that_does_not_exist(target: str, expected: str, workers: str) -> None:
    assert expected in refused("run", target, "-b", ":0", "-w", workers, status=3)


@pytest.mark.parametrize(
    ("code", "traceback", "expected"),
    [
        (
            "def deep():\n    raise ValueError('one\\ntwo')\n\ndeep()\n",
            '{file}", line 4, in <module>\n.*{file}", line 2, in deep\n.*ValueError: one\ntwo\n',
            "importing {name} failed: ValueError: one",
        ),
        (
            "import nowhere\n",
            '{file}", line 1, in <module>\n    import nowhere\nModuleNotFoundError: .*\n',
            "importing {name} failed: ModuleNotFoundError: No module named 'nowhere'",
        ),
        (
            "def (\n",
            '{file}", line 1\n    def \\(\n.*SyntaxError: invalid syntax\n',
            "importing {name} failed: SyntaxError: invalid syntax (app.py, line 1)",
        ),
        (
            "raise SystemExit(0)\n",
            '{file}", line 1, in <module>\n.*SystemExit: 0\n',
            "importing {name} failed: SystemExit: 0 "
            "(what only a script does belongs under `if __name__ == '__main__':`)",
        ),
        (
            "try:\n    {}['key']\nexcept KeyError as error:\n    raise RuntimeError('no key') from error\n",
            '{file}", line 2, in <module>\n.*KeyError.*direct cause.*{file}", line 4, in <module>\n.*RuntimeError.*\n',
            "importing {name} failed: RuntimeError: no key",
        ),
        (
            "import allcomers\n\nclass App(allcomers.Web):\n    def __init__(self):\n        raise OSError('full')\n",
            '{file}", line 5, in __init__\n.*OSError: full\n',
            "making App() failed: OSError: full",
        ),
        (
            "def __getattr__(name):\n    raise ValueError(name)\n",
            '{file}", line 2, in __getattr__\n.*ValueError: App\n',
            "getting App of {name} failed: ValueError: App",
        ),
    ],
)
@pytest.mark.parametrize("place", ["app.py", "app"])
def test_an_app_that_raises_shows_its_own_traceback(
    tmp_path: Path, place: str, code: str, traceback: str, expected: str
) -> None:
    file = tmp_path / "app.py"
    file.write_text(code)
    result = allcomers("run", f"{place}:App", "-b", ":0", "-w", "2", cwd=tmp_path)
    assert result.returncode == 3
    *_, last = result.stderr.splitlines()
    assert last == f"allcomers: {expected.format(name=place)}"
    own = result.stderr.removesuffix(last + "\n")
    pattern = traceback.replace("{file}", r"\S*app\.py")
    assert re.fullmatch(f'(Traceback .*\n)?  File "{pattern}', own, re.S), own
    assert str(ROOT / "src") not in own
    assert "importlib" not in own


# ------------------------------------------------------------ addresses


def test_each_address_is_reported_first_and_once(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving("serve", SITE, "-b", f"unix:{path}", "-b", "127.0.0.1:0") as server:
        wait_for(lambda: " calls " in server.stderr, "the line that tells what is served")
        *lines, what = server.stderr.splitlines()
        assert "examples/site is a site; " in what
        ours = rf"\(pid {server.pid}\)"
        assert len(lines) == 3
        assert re.fullmatch(rf"Listening at: unix:{path} {ours}", lines[0])
        for line in lines[1:]:
            assert re.fullmatch(rf"Listening at: http://127\.0\.0\.1:[1-9]\d* {ours}", line)
        assert lines[1] != lines[2]
        for port in (int(line.split(":")[3].split()[0]) for line in lines[1:]):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                assert exchange(sock).status == 200
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            assert exchange(sock).status == 200
    assert not path.exists()


@pytest.mark.parametrize("model", ["epoll", "thread", "process", "asyncio"])
def test_a_unix_socket(tmp_path: Path, model: str) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with serving("serve", SITE, "-m", model, bind=f"unix:{path}"), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        assert exchange(sock).status == 200
    assert not path.exists()


def test_a_descriptor_that_was_opened_for_us() -> None:
    """As systemd's socket activation has it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, address = listener.fileno(), listener.getsockname()
        command = [sys.executable, "-m", "allcomers", "serve", SITE, "-b", f"fd://{fd}"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, pass_fds=[fd])
        try:
            assert process.stderr
            expected = f"Listening at: http://127.0.0.1:{address[1]} (pid {process.pid})\n"
            assert process.stderr.readline() == expected
            with socket.create_connection(address, timeout=PATIENCE) as sock:
                assert exchange(sock).status == 200
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this system has no IPv6")
def test_ipv6() -> None:
    with serving("serve", SITE, bind="[::1]:0") as server:
        assert re.match(r"Listening at: http://\[::1\]:\d+ ", server.stderr)
        with server.connect() as sock:
            assert exchange(sock).status == 200


@pytest.mark.parametrize("host", ["", "0.0.0.0", "localhost"])
def test_hosts(host: str) -> None:
    with serving("serve", SITE, bind=f"{host}:0") as server:
        ports = set(re.findall(r"Listening at: http://\S+:(\d+) ", server.stderr))
        assert len(ports) == 1  # where localhost has two addresses, they share it
        with socket.create_connection(("127.0.0.1", int(ports.pop()))) as sock:
            assert exchange(sock).status == 200


@pytest.mark.parametrize(
    ("arguments", "scheme"),
    [
        (["serve", SITE], "http"),
        (["serve", SITE, "--certfile", "PEM"], "https"),
        (["run", "examples/echo.py:Echo"], "tcp"),
        (["run", "examples/echo.py:Echo", "--certfile", "PEM"], "tls"),
    ],
)
def test_the_scheme_is_that_of_the_protocol(certificate: Any, arguments: list[str], scheme: str) -> None:
    arguments = [str(certificate.pem) if argument == "PEM" else argument for argument in arguments]
    with serving(*arguments) as server:
        assert server.stderr.startswith(f"Listening at: {scheme}://127.0.0.1:")
        with server.connect(certificate.trusted if "--certfile" in arguments else None) as sock:
            if "http" in scheme:
                assert exchange(sock).status == 200
            else:
                sock.sendall(b"hello\n")
                assert sock.recv(100) == b"hello\n"


def test_workers_auto_is_one_a_core() -> None:
    with serving("serve", SITE, "-w", "auto") as server:
        assert len(server.workers()) == len(os.sched_getaffinity(0))


# ------------------------------------------------------------ the access log, through a server

AGENT = 'it"s\\me'
EVIL = b'GET /%22nowhere?a="b\\c HTTP/1.1\r\nHost: test\r\nUser-Agent: it"s\\me\r\nReferer: http://test/\xe9\r\n\r\n'


def lines_of(log: Path, count: int) -> list[str]:
    wait_for(lambda: log.exists() and log.read_text().count("\n") >= count, f"{count} lines in the log")
    return log.read_text().splitlines()


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., list[str]]:
    def run(*arguments: str, model: str = "epoll") -> list[str]:
        """Return the lines of a GET, of a HEAD, of a missing path, and of a refused request."""
        log = tmp_path / "log"
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "page.txt").write_text("x" * 1234)
        arguments = ("serve", str(tmp_path / "site"), "-m", model, "--access-log", str(log), *arguments)
        with serving(*arguments) as server:
            with server.connect() as sock:
                assert exchange(sock, "/page.txt").status == 200
                sock.sendall(request("/page.txt").replace(b"GET", b"HEAD"))
                sock.recv(65536)
                lines_of(log, 2)
            with server.connect() as sock:
                sock.sendall(EVIL)
                assert receive(sock).status == 404
            lines_of(log, 3)
            assert b" 400 " in ask(server, b"GET / HTTP/1.1\r\nHost : bad\r\n\r\n")
            return lines_of(log, 4)

    return run


TIME = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"


@pytest.mark.parametrize("model", ["epoll", "thread", "process"])
def test_access_log_in_the_combined_format(logged: Callable[..., list[str]], model: str) -> None:
    page, head, missing, bad = logged(model=model)
    assert re.fullmatch(rf'127\.0\.0\.1 - - {TIME} "GET /page\.txt HTTP/1\.1" 200 1234 "-" "-"', page)
    assert re.fullmatch(rf'127\.0\.0\.1 - - {TIME} "HEAD /page\.txt HTTP/1\.1" 200 - "-" "-"', head)
    request_line = re.escape(r"GET /%22nowhere?a=\"b\\c HTTP/1.1")
    others = re.escape(r'"http://test/\xe9" "it\"s\\me"')
    assert re.fullmatch(rf'127\.0\.0\.1 - - {TIME} "{request_line}" 404 \d+ {others}', missing)
    assert re.fullmatch(rf'127\.0\.0\.1 - - {TIME} ".*" 400 \d+ "-" "-"', bad)


def test_access_log_in_the_common_format(logged: Callable[..., list[str]]) -> None:
    page, *_ = logged("--access-log-format", "common")
    assert re.fullmatch(rf'127\.0\.0\.1 - - {TIME} "GET /page\.txt HTTP/1\.1" 200 1234', page)


def test_access_log_as_json(logged: Callable[..., list[str]]) -> None:
    page, head, missing, bad = map(json.loads, logged("--access-log-format", "json"))
    assert (page["peer"], page["method"], page["target"], page["version"]) == (
        "127.0.0.1", "GET", "/page.txt", "HTTP/1.1",
    )  # fmt: skip
    assert (page["status"], page["bytes"], page["host"]) == (200, 1234, "test")
    assert 0 <= page["seconds"] < 20
    assert (head["method"], head["bytes"]) == ("HEAD", 0)
    assert (missing["status"], missing["user_agent"], missing["referer"]) == (404, AGENT, "http://test/\xe9")
    assert bad["status"] == 400


def test_access_log_on_standard_output() -> None:
    server = Server("serve", SITE, "--access-log", "-")
    with server.connect() as sock:
        assert exchange(sock).status == 200
    assert server.process.stdout
    assert b'"GET / HTTP/1.1" 200' in server.process.stdout.readline()
    assert server.stop() == 0


def test_access_log_has_the_bytes_sent_of_a_response_cut_off(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 50_000_000)
    log = tmp_path / "log"
    with serving("serve", str(tmp_path), "--access-log", str(log)) as server:
        with server.connect() as sock:
            sock.sendall(request("/large"))
            sock.recv(1000)
        (line,) = lines_of(log, 1)
    sent = re.search(r'" 200 (\d+) ', line)
    assert sent
    assert 1000 <= int(sent[1]) < 50_000_000


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["rnu", "app:app"], "run"),
        (["run", "app:app", "--wokers", "2"], "--workers"),
        (["serve", "--worker=2"], "--workers"),
        (["run", "app:app", "--model", "epol"], "epoll"),
        (["run", "app:app", "--calls", "poll"], "pool"),
        (["run", "app:app", "--log-level", "warn"], "warning"),
        (["load", "http://127.0.0.1:1", "--durration", "1"], "--duration"),
        (["doctor", "--modle", "epoll"], "--model"),
    ],
)
def test_what_is_mistyped_gets_a_suggestion(arguments: list[str], meant: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "allcomers", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"; did you mean '{meant}'?" in line

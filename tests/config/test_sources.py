"""The sources of options: their order of strength, the forms of values, and the reports of bad values."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allcomers.config import options as configs
from allcomers.config.options import Config
from allcomers.config.sources import Settings, gather, to_toml
from allcomers.errors import ConfigError
from support.crowd import exchange
from support.harness import PATIENCE, ROOT, Server, serving, wait_for

APP = "import allcomers\n\n\nclass App(allcomers.Web):\n    def get(self, request):\n        return 'one'\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter an empty folder for each test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(command: str = "run", *, file: str = "", environ: dict[str, str] | None = None, **flags: Any) -> Settings:
    layer = {name: (value, f"--{name}") for name, value in flags.items()}
    return gather(command, layer, environ or {}, file=file)


def command(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "allcomers", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=30, env={**os.environ, **(env or {})},
    )  # fmt: skip


# ------------------------------------------------------------ order


def test_without_anything_there_are_defaults() -> None:
    found = given()
    assert found.config == Config()
    assert (found.given, found.notes) == ({}, [])


def test_the_stronger_source_wins(folder: Path) -> None:
    environ = {"WEB_CONCURRENCY": "2"}
    assert given(environ=environ).config.workers == 2
    (folder / "pyproject.toml").write_text("[tool.allcomers]\nworkers = 3\n")
    assert given(environ=environ).config.workers == 3
    (folder / "allcomers.toml").write_text("workers = 4\n")
    assert given(environ=environ).config.workers == 4
    (folder / "other.toml").write_text("workers = 5\n")
    assert given(environ=environ, file="other.toml").config.workers == 5
    environ["ALLCOMERS_WORKERS"] = "6"
    assert given(environ=environ, file="other.toml").config.workers == 6
    assert given(environ=environ, file="other.toml", workers="7").config.workers == 7


def test_of_two_files_one_is_read_and_the_other_reported(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.allcomers]\nworkers = 3\n")
    (folder / "allcomers.toml").write_text("threads = 4\n")
    found = given()
    assert (found.config.workers, found.config.threads) == (1, 4)
    assert found.notes == ["allcomers.toml is read, so [tool.allcomers] in pyproject.toml is not"]


def test_each_source_is_named() -> None:
    Path("allcomers.toml").write_text("max-body = '1M'\n")
    found = given(environ={"ALLCOMERS_THREADS": "2", "PORT": "80", "FORWARDED_ALLOW_IPS": "*"}, model="epoll")
    assert found.origin == {
        "bind": "$PORT",
        "forwarded_allow_ips": "$FORWARDED_ALLOW_IPS",
        "max_body": "allcomers.toml: max-body",
        "threads": "ALLCOMERS_THREADS",
        "model": "--model",
    }


# ------------------------------------------------------------ the platform and the environment


def test_a_platform_s_port_is_for_all_addresses_where_none_is_named() -> None:
    assert given(environ={"PORT": "8080"}).config.bind == ("0.0.0.0:8080",)
    for elsewhere in ({"bind": ("a:1",)}, {"environ": {"PORT": "8080", "ALLCOMERS_BIND": "a:1"}}):
        assert given(**({"environ": {"PORT": "8080"}} | elsewhere)).config.bind == ("a:1",)
    Path("allcomers.toml").write_text("bind = 'a:1'\n")
    assert given(environ={"PORT": "8080"}).config.bind == ("a:1",)


def test_an_empty_variable_is_ignored() -> None:
    empty = dict.fromkeys(["PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "ALLCOMERS_WORKERS", "ALLCOMERS_BIND"], "")
    assert given(environ=empty).config == Config()


def test_the_environment_has_lists_and_switches() -> None:
    environ = {"ALLCOMERS_BIND": "a:1, unix:/b ,", "ALLCOMERS_FACTORY": "on", "ALLCOMERS_RELOAD": "False"}
    config = given(environ=environ).config
    assert (config.bind, config.factory, config.reload) == (("a:1", "unix:/b"), True, False)


def test_foreign_variables_are_ignored_and_a_slip_is_reported() -> None:
    """Kubernetes sets such variables as ALLCOMERS_PORT for a service called allcomers."""
    others = {"ALLCOMERS_PORT": "tcp://10.0.0.1:80", "ALLCOMERS_SERVICE_HOST": "10.0.0.1", "ALLCOMERS_PURE": "1"}
    assert given(environ=others).notes == []
    found = given(environ={"ALLCOMERS_WORKER": "2"})
    assert found.config.workers == 1
    assert found.notes == ["ALLCOMERS_WORKER is no option; did you mean ALLCOMERS_WORKERS?"]


def test_the_environment_may_name_the_file() -> None:
    Path("mine.toml").write_text("workers = 2\n")
    Path("flag.toml").write_text("workers = 3\n")
    environ = {"ALLCOMERS_CONFIG": "mine.toml"}
    assert given(environ=environ).config.workers == 2
    assert given(environ=environ, file="flag.toml").config.workers == 3


# ------------------------------------------------------------ files


def test_a_file_has_native_values_or_text() -> None:
    Path("allcomers.toml").write_text(
        "target = 'app:app'\nbind = ['a:1', 'b:2']\nworkers = '2'\nthreads = 3\nkeep-alive = 2.5\nhead_timeout = 7\n"
        "factory = true\nproxy-protocol = false\nws_deflate = false\nmax_body = '1K'\nmax-memory = 2048\n"
        "forwarded_allow_ips = ['10.0.0.0/8', 'unix']\nreload_dir = 'a, b'\n"
    )
    found = given()
    config = found.config
    assert found.own == {"target": "app:app"}
    assert (config.bind, config.workers, config.threads) == (("a:1", "b:2"), 2, 3)
    assert (config.keep_alive, config.head_timeout) == (2.5, 7.0)
    assert (config.factory, config.proxy_protocol, config.ws_deflate) == (True, False, "off")
    assert (config.max_body, config.max_memory) == (1024, 2048)
    assert (config.forwarded_allow_ips, config.reload_dir) == ("10.0.0.0/8,unix", ("a", "b"))


def test_one_file_serves_both_commands() -> None:
    Path("allcomers.toml").write_text(
        "target = 'app:app'\ninterface = 'wsgi'\ndir = 'public'\nlist = true\nworkers = 2"
    )
    run, serve = given("run"), given("serve")
    assert (run.own, run.config.interface) == ({"target": "app:app"}, "wsgi")
    assert serve.own == {"dir": "public", "list": True, "cache_control": "", "follow_links": False}
    assert serve.config == Config(workers=2)  # a site is no app
    assert given("serve", dir="other").own["dir"] == "other"


@pytest.mark.parametrize(
    "text",
    [
        "[tool.allcomers]\nworkers = 2",
        "[project]\nname = 'x'\n\n  [ tool . 'allcomers' ]\nworkers = 2",
        "[tool]\nallcomers = {workers = 2}",
        "[tool]\nallcomers.workers = 2",
        "tool.allcomers.workers = 2",
        'tool = {"allcomers" = {workers = 2}}',
    ],
)
def test_the_table_in_pyproject(text: str) -> None:
    Path("pyproject.toml").write_text(text)
    assert given().config.workers == 2
    assert given(file="pyproject.toml").config.workers == 2


def test_a_project_without_the_table_is_not_parsed() -> None:
    Path("pyproject.toml").write_text("[tool.ruff]\nthis is no TOML, and none of our business")
    assert given().config == Config()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wrkers = 2", "allcomers.toml: there is no option 'wrkers'; did you mean 'workers'?"),
        ("zzz = 2", "allcomers.toml: there is no option 'zzz'"),
        ("[lab]\nx = 2", "allcomers.toml: there is no option 'lab'"),
        ("max-body = 1\nmax_body = 1", "allcomers.toml: max_body is given twice, with - and with _"),
        ("workers = 0", "allcomers.toml: workers: '0' is not a whole number from 1 on"),
        ("workers = 2.0", "allcomers.toml: workers: '2.0' is not a whole number from 1 on"),
        ("keep-alive = nan", "allcomers.toml: keep-alive: 'nan' is not a number of seconds above 0"),
        ("workers = [2]", "allcomers.toml: workers: it is a list, and should be N"),
        ("workers = {}", "allcomers.toml: workers: it is a table, and should be N"),
        ("workers = 2020-01-01", "allcomers.toml: workers: it is a date or a time, and should be N"),
        ("bind = ['a:1', ['b:2']]", "allcomers.toml: bind: it is a list, and should be ADDR"),
        ("target = true", "allcomers.toml: target: it is true or false, and should be TARGET"),
        ("reload = [true]", "allcomers.toml: reload: it is a list, and should be on or off"),
        ("reload = 'perhaps'", "allcomers.toml: reload: 'perhaps' is neither on nor off"),
        ("workers = ", "allcomers.toml is not TOML: Invalid value (at end of document)"),
    ],
)
def test_an_error_in_a_file_is_reported_with_its_place(text: str, expected: str) -> None:
    Path("allcomers.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        given()
    assert str(caught.value) == expected


def test_files_that_cannot_be_read() -> None:
    Path("latin1.toml").write_bytes(b"target = '\xe9'")
    Path("gunicorn.conf.py").write_text("workers = 2")
    Path("pyproject.toml").write_text("[tool]\nallcomers = 5")
    for file, expected in {
        "nowhere.toml": "cannot read 'nowhere.toml': No such file or directory",
        ".": "cannot read '.': Is a directory",
        "latin1.toml": "latin1.toml is not TOML: 'utf-8' codec can't decode byte 0xe9",
        "gunicorn.conf.py": "gunicorn.conf.py is Python, and options are read as TOML: `allcomers gunicorn",
        "": "pyproject.toml: tool.allcomers is no table",
    }.items():
        with pytest.raises(ConfigError, match=re.escape(expected)):
            given(file=file)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"ALLCOMERS_WORKERS": "x"}, "ALLCOMERS_WORKERS: 'x' is not a whole number from 1 on"),
        ({"WEB_CONCURRENCY": "x"}, "$WEB_CONCURRENCY: 'x' is not a whole number from 1 on"),
        ({"PORT": "tcp://10.0.0.1"}, "$PORT: 'tcp://10.0.0.1' is not a port number; --bind is stronger"),
        ({"ALLCOMERS_LIST": "x"}, "ALLCOMERS_LIST: 'x' is neither on nor off"),
    ],
)
def test_a_bad_variable_is_named(environ: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given("serve", environ=environ)
    assert str(caught.value) == expected


def test_every_option_can_stand_in_a_file_by_the_name_of_its_flag() -> None:
    for name, _, option in (*configs.known("run"), *configs.known("serve")):
        if option.flags:
            assert option.flags[-1] == f"--{name.replace('_', '-')}"


# ------------------------------------------------------------ options that do not go together


@pytest.fixture
def nobody() -> Iterator[int]:
    """Run this process as a user without a name and without rights."""
    if os.geteuid():
        pytest.skip("needs root, to become somebody else")
    import grp  # noqa: F401 - nobody may be unable to read the folder where Python keeps it
    import pwd  # noqa: F401

    user = 4_000_000
    os.setegid(user)
    os.seteuid(user)
    yield user
    os.seteuid(0)
    os.setegid(0)


def test_only_root_becomes_another_user(nobody: int) -> None:
    with pytest.raises(ConfigError) as caught:
        configs.make({"user": "daemon"})
    assert str(caught.value) == f"--user daemon needs root, and this is {nobody}: start as root, or leave it out"
    with pytest.raises(ConfigError, match=f"--group daemon needs root, and this is {nobody}"):
        configs.make({"group": "daemon"})
    assert configs.make({"user": str(nobody), "group": str(nobody)}).user == str(nobody)  # who it is already


def test_the_databases_of_users_and_groups_are_not_loaded_unasked(nobody: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("grp", "pwd"):
        monkeypatch.setitem(sys.modules, module, None)  # to import it fails
    assert configs.make({}).user == ""


# ------------------------------------------------------------ --print-config


@pytest.mark.parametrize("name", ["run", "serve"])
def test_printed_options_are_read_the_same(name: str) -> None:
    Path("allcomers.toml").write_text(
        "max-body = '64M'\nkeep-alive = 2.5\nreload-dir = ['a\"b', 'c\\\\d\\u0007\u00e9']\n"
    )
    environ = {"ALLCOMERS_TARGET": "app:app", "ALLCOMERS_DIR": "x # y", "PORT": "80", "ALLCOMERS_WORKERS": "auto"}
    first = given(name, environ=environ, access_log_format='%(h)s "%(r)s"\t', proxy_protocol="on", model="epoll")
    Path("printed.toml").write_text(to_toml(first))
    again = given(name, file="printed.toml")
    assert (again.config, again.own) == (first.config, first.own)
    Path("again.toml").write_text(to_toml(again))
    third = given(name, file="again.toml")
    assert (third.config, third.own) == (first.config, first.own)


def test_every_option_is_printed_with_where_it_comes_from() -> None:
    Path("allcomers.toml").write_text("max-body = '64M'\n")
    text = to_toml(given(environ={"ALLCOMERS_WORKERS": "auto"}, threads="4", target="app:app"))
    for name, _, _ in configs.known("run"):
        assert re.search(rf"^(# )?{name} = .*  ?# ", text, re.M), name
    for line in (
        'target = "app:app"  # --target',
        'bind = ["127.0.0.1:8000"]  # default',
        "# model =  # default: none",
        'workers = "auto"  # ALLCOMERS_WORKERS',
        "threads = 4  # --threads",
        "keep_alive = 75.0  # default",
        'max_body = "64M"  # allcomers.toml: max-body',
        "factory = false  # default",
        "# max_connections =  # default: none",
    ):
        assert line in text.splitlines()


def test_text_that_toml_cannot_express_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'\\udcff' is not UTF-8, so TOML cannot express it"):
        to_toml(given(target="\udcff"))


# ------------------------------------------------------------ through the command line


def test_run_alone_works_with_a_file(folder: Path) -> None:
    (folder / "app.py").write_text(APP)
    (folder / "allcomers.toml").write_text("target = 'app.py:App'\nmodel = 'thread'\n")
    with serving("run", "--chdir", str(folder)) as server, server.connect() as sock:
        assert exchange(sock).body == b"one"


def test_check_config(folder: Path) -> None:
    (folder / "app.py").write_text(APP)
    result = command("run", "app:App", "-m", "poll", "-w", "2", "--check-config", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "OK: app:App as http on 127.0.0.1:8000: 2 workers, poll, calls auto\n"
    (folder / "later.py").write_text("async def app(scope, receive, send):\n    raise AssertionError('nobody asks')\n")
    result = command("run", "later:app", "--check-config", "--bind", "unix:x", cwd=folder)
    assert result.stdout == "OK: later:app as http on unix:x: 1 worker, asyncio, calls inline\n"
    assert not (folder / "x").exists()
    result = command("serve", "--check-config", "--no-reload", cwd=folder, env={"ALLCOMERS_RELOAD": "on"})
    assert (result.returncode, result.stdout[:16]) == (0, "OK: . as http on")


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["app:Nowhere"], 3, "app has no 'Nowhere'"),
        (["bad:app"], 3, "importing bad failed: ZeroDivisionError"),
        (["app:App", "-w", "x"], 2, "--workers: 'x'"),
        (["app:App", "-b", "x"], 2, "--bind 'x' is not"),
        (["app:App", "--certfile", "app.py"], 2, "--certfile 'app.py': there is no CERTIFICATE"),
        (["threads:App"], 0, ""),
        (["suicide:App"], 1, "the process that loaded it was ended by signal 9"),
    ],
)
def test_check_config_finds_errors_of_a_start(folder: Path, arguments: list[str], status: int, expected: str) -> None:
    (folder / "app.py").write_text(APP)
    (folder / "bad.py").write_text("1/0\n")
    (folder / "threads.py").write_text(
        f"import threading, time\nthreading.Thread(target=time.sleep, args=[60]).start()\n{APP}"
    )
    (folder / "suicide.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    result = command("run", *arguments, "--check-config", cwd=folder)
    assert result.returncode == status, result.stderr
    assert expected in result.stderr
    assert bool(result.stdout) == (status == 0)


def test_print_config_loads_no_app_and_reports_errors(folder: Path) -> None:
    result = command("run", "nowhere:app", "--print-config", "--config", "mine.toml", cwd=folder)
    assert (result.returncode, result.stderr) == (2, "allcomers: cannot read 'mine.toml': No such file or directory\n")
    result = command("run", "nowhere:app", "--print-config", cwd=folder, env={"ALLCOMERS_WORKER": "2"})
    assert result.returncode == 0
    assert result.stderr == "allcomers: ALLCOMERS_WORKER is no option; did you mean ALLCOMERS_WORKERS?\n"
    (folder / "mine.toml").write_text(result.stdout)
    assert command("run", "--print-config", "--config", "mine.toml", cwd=folder).returncode == 0


def test_the_file_is_looked_for_where_chdir_leads(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "allcomers.toml").write_text("workers = 2\n")
    for result in (
        command("run", "--print-config", "--chdir", "sub", cwd=folder),
        command("run", "--print-config", cwd=folder, env={"ALLCOMERS_CHDIR": "sub"}),
    ):
        assert "workers = 2  # allcomers.toml: workers\n" in result.stdout


def number_of_workers(server: Server) -> int:
    return len(server.workers())


def test_hup_reads_all_again_and_a_bad_file_changes_nothing(folder: Path) -> None:
    (folder / "app.py").write_text(APP)
    (folder / "there").mkdir()
    (folder / "allcomers.toml").write_text("target = '../app.py:App'\nchdir = 'there'\n")
    environment = {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-m", "allcomers", "run", "-b", "127.0.0.1:0"],
        cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    ) as process:  # fmt: skip
        try:
            assert process.stderr
            assert "Listening at" in process.stderr.readline()
            assert "is a web handler" in process.stderr.readline()
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            (folder / "allcomers.toml").write_text("target = '../app.py:App'\nchdir = 'there'\nworkers = 'x'\n")
            process.send_signal(signal.SIGHUP)
            assert (
                process.stderr.readline() == "allcomers: allcomers.toml: workers: 'x' is not a whole number from 1 on\n"
            )
            assert "the options stay as they were" in process.stderr.readline()
            assert Path(f"/proc/{process.pid}/cwd").readlink() == folder / "there"
            (folder / "allcomers.toml").write_text("target = '../app.py:App'\nchdir = 'there'\nworkers = 3\n")
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: len(children.read_text().split()) == 3, "three workers")
        finally:
            process.terminate()
            rest = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0
    assert "Traceback" not in rest

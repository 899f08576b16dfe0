"""The doctor at work: facts read from made-up trees of /proc and /sys, from this system, from real files and real apps;
and the command in a shell."""

from __future__ import annotations

import json
import os
import pty
import resource
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trustme

from allcomers.commands.doctor import app_facts, option_facts, system_facts
from allcomers.commands.doctor.facts import App, Facts
from allcomers.config.options import Config
from allcomers.protocol.compiled import KIND
from support.harness import ROOT, wait_for

# ------------------------------------------------------------ facts about a system


def tree(root: Path, files: dict[str, str]) -> Facts:
    """Return the facts of a system whose kernel has these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return system_facts.read(str(root))


V1 = "5:pids:{0}\n4:memory:{0}\n3:cpu,cpuacct:{0}\n0::/\n"
CGROUPS = {
    "version 2, in a container": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n",
         "sys/fs/cgroup/memory.max": "536870912\n", "sys/fs/cgroup/pids.max": "100\n",
         "sys/fs/cgroup/pids.current": "40\n"},
        (1.5, 512 << 20, 60),
    ),
    "version 2, the limit is a parent's": (
        {"proc/self/cgroup": "0::/shop.slice/web.service\n",
         "sys/fs/cgroup/shop.slice/web.service/cpu.max": "max 100000\n",
         "sys/fs/cgroup/shop.slice/cpu.max": "50000 100000\n",
         "sys/fs/cgroup/shop.slice/web.service/memory.max": "max\n",
         "sys/fs/cgroup/shop.slice/memory.max": "1073741824\n"},
        (0.5, 1 << 30, inf),
    ),
    "version 2 beside version 1": (
        {"proc/self/cgroup": "1:name=systemd:/\n0::/web\n", "sys/fs/cgroup/unified/web/pids.max": "9\n"},
        (inf, inf, 9),
    ),
    "version 1": (
        {"proc/self/cgroup": V1.format("/docker/abc"),
         "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "25000\n",
         "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
         "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "268435456\n",
         "sys/fs/cgroup/pids/docker/abc/pids.max": "50\n",
         "sys/fs/cgroup/pids/docker/abc/pids.current": "60\n"},
        (0.25, 256 << 20, 0),
    ),
    "version 1, in a container: the path is the host's": (
        {"proc/self/cgroup": V1.format("/docker/abc"), "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
         "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
         "sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n"},
        (2.0, 256 << 20, inf),
    ),
    "version 1, no limits": (
        {"proc/self/cgroup": V1.format("/"), "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
         "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
         "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
         "sys/fs/cgroup/pids/pids.max": "max\n"},
        (inf, inf, inf),
    ),
    "nothing that is known": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "some words here\n",
         "sys/fs/cgroup/memory.max": "\n", "sys/fs/cgroup/pids.max": "-7\n"},
        (inf, inf, inf),
    ),
    "no cgroups": ({}, (inf, inf, inf)),
}  # fmt: skip


@pytest.mark.parametrize("name", CGROUPS)
def test_limits_of_the_cgroup(tmp_path: Path, name: str) -> None:
    files, (quota, memory, tasks) = CGROUPS[name]
    facts = tree(tmp_path, files)
    assert (facts.quota, facts.memory_limit) == (quota, memory)
    if os.geteuid() == 0:  # others have a limit of their own, too
        assert facts.tasks == tasks


def test_facts_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("DYNO", raising=False)
    facts = tree(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:  2048 kB\nCommitLimit:  1024 kB\nCommitted_AS:  24 kB\nHugePages_Total: 0\n",
            "proc/sys/vm/overcommit_memory": "2\n",
            "proc/sys/net/core/somaxconn": "128\n",
            "proc/sys/net/ipv4/tcp_max_syn_backlog": "512\n",
            "proc/sys/net/ipv4/tcp_syncookies": "0\n",
            "proc/sys/net/ipv4/tcp_abort_on_overflow": "1\n",
            "proc/sys/net/ipv4/tcp_tw_reuse": "0\n",
            "proc/sys/net/ipv4/ip_local_port_range": "1024\t2047\n",
            "proc/sys/net/ipv4/ip_local_reserved_ports": "1080,1100-1200\n",
            "proc/self/mounts": f"/dev/sda / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\nproc /proc proc rw 0 0\n",
            "sys/class/dmi/id/product_name": "Google Compute Engine\n",
            ".dockerenv": "",
        },
    )
    assert (facts.memory, facts.commit_room) == (2048 << 10, 1000 << 10)
    assert (facts.somaxconn, facts.syn_backlog, facts.syncookies, facts.abort_on_overflow) == (128, 512, False, True)
    assert not facts.tw_reuse
    assert (facts.ports, facts.reserved) == ((1024, 2047), ((1080, 1080), (1100, 1200)))
    assert (facts.temp, facts.temp_kind, facts.temp_problem) == (str(tmp_path), "tmpfs", "")
    assert facts.places == {"kubernetes", "google", "container"}


def test_a_missing_value_is_no_limit(tmp_path: Path) -> None:
    facts = system_facts.read(str(tmp_path))
    assert (facts.somaxconn, facts.syn_backlog, facts.memory, facts.commit_room) == (inf, inf, inf, inf)
    assert facts.syncookies
    assert not facts.abort_on_overflow
    assert (facts.ports, facts.reserved) == (Facts().ports, ())


def test_this_system_is_read() -> None:
    facts = system_facts.read()
    assert facts.cores >= 1
    assert (facts.nofile, facts.nofile_hard) == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert facts.version == sys.version_info[:2]
    assert facts.uid == os.geteuid()
    assert facts.memory > 64 << 20


CPU = Path("/sys/fs/cgroup/cpu")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """Create a real control group with half a core, if this user may."""
    group = CPU / f"doctor-{os.getpid()}"
    if not os.access(CPU, os.W_OK) or not (CPU / "cpu.cfs_quota_us").exists():
        pytest.skip("needs a cpu cgroup (version 1) that may be written")
    group.mkdir()
    (group / "cpu.cfs_quota_us").write_text("50000")
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text(), "the group to be empty")
    group.rmdir()


def test_a_real_quota(small_group: Path) -> None:
    enter = f"echo $$ >{small_group}/cgroup.procs; "
    report = examined("--workers", "2", shell=enter)
    assert report["quota"] == 0.5
    assert names(report) >= {"workers_over_quota"}


# ------------------------------------------------------------ facts about what options name


def about(**options: Any) -> Facts:
    return option_facts.read(Facts(), Config(**options))


def test_addresses_are_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        used, port = f"127.0.0.1:{other.getsockname()[1]}", other.getsockname()[1]
        facts = about(
            bind=(used, "127.0.0.1:0", "0.0.0.0:0", "192.0.2.1:8000", "fd://3", "[::1]:0", "nowhere.invalid:1")
        )
    first, free, everywhere, foreign, descriptor, six, unknown = facts.addresses
    assert (first.is_in_use, first.problem, first.port) == (True, "", port)
    assert (free.is_in_use, free.is_local, free.is_public) == (False, True, False)
    assert (everywhere.is_local, everywhere.is_public) == (False, True)
    assert foreign.problem == "Cannot assign requested address"  # TEST-NET-1 (RFC 5737): nobody's
    assert not descriptor.is_public
    assert six.is_local
    assert unknown.problem


def test_files_are_checked_and_not_created(tmp_path: Path) -> None:
    log, sock, pid = tmp_path / "access.log", tmp_path / "socket", tmp_path / "none" / "pid"
    facts = about(access_log=str(log), pid=str(pid), bind=(f"unix:{sock}",))
    assert facts.log_problem == ""
    assert facts.pid_problem == f"there is no folder {str(pid.parent)!r}"
    assert facts.addresses[0].problem == ""
    assert list(tmp_path.iterdir()) == []
    sock.write_text("not a socket")
    assert about(bind=(f"unix:{sock}",)).addresses[0].problem == "there is a file that is not a socket"
    assert about(access_log=str(tmp_path)).log_problem == "it is a folder"


def test_unknown_users_and_groups() -> None:
    assert about(user="no-such-user").user_problem == "there is no user 'no-such-user'"
    assert about(group="no-such-group").user_problem == "there is no group 'no-such-group'"
    assert about(user="0", group="0").user_problem == ""
    assert about(user="root").user_problem == ""


def test_certificates_are_read(tmp_path: Path) -> None:
    pem = tmp_path / "site.pem"
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=5)
    made = trustme.CA().issue_cert("example.org", "*.example.net", "127.0.0.1", not_after=ends)
    made.private_key_and_cert_chain_pem.write_to_path(pem)
    pem.chmod(0o644)
    (found,) = about(certfile=(str(pem),)).certificates
    assert found.names == ("example.org", "*.example.net", "127.0.0.1")
    assert found.expires == ends.timestamp()
    assert found.begins < datetime.now(UTC).timestamp()
    assert (found.mode, found.problem) == (0o644, "")


def test_a_certificate_that_has_expired_is_read_too(tmp_path: Path) -> None:
    pem = tmp_path / "site.pem"
    ended = datetime.now(UTC) - timedelta(days=2)
    made = trustme.CA().issue_cert("example.org", not_before=ended - timedelta(days=9), not_after=ended)
    made.private_key_and_cert_chain_pem.write_to_path(pem)
    (found,) = about(certfile=(str(pem),)).certificates
    assert found.expires == int(ended.timestamp())
    (missing,) = about(certfile=(str(tmp_path / "none.pem"),)).certificates
    assert "No such file" in missing.problem


# ------------------------------------------------------------ facts about an app


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write an app, and return its TARGET."""

    def make(source: str) -> str:
        path = tmp_path / "shop.py"
        path.write_text(textwrap.dedent(source))
        return f"{path}:app"

    return make


WEB = "app = lambda request: None\n"

LOOK = """
import dataclasses, json, sys
from allcomers.config.options import Config
from allcomers.commands.doctor import app_facts
print(json.dumps(dataclasses.asdict(app_facts.read(sys.argv[1], Config()))))
"""


def looked(target: str) -> App:
    """Return the facts of an app, read in a process without the imports of other tests."""
    command = [sys.executable, "-c", LOOK, target]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    fields = json.loads(result.stdout)
    return App(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def test_an_app_is_loaded_elsewhere(write: Callable[[str], str]) -> None:
    found = looked(write(f"import sqlite3, time\ntime.sleep(0.05)\nheld = bytearray(b'x' * (20 << 20))\n{WEB}"))
    assert (found.kind, found.problem, found.threads, found.listening) == ("web", "", (), ())
    assert found.seconds >= 0.05
    assert 20 << 20 < found.memory < 60 << 20


@pytest.mark.parametrize(
    ("source", "options", "kind", "calls"),
    [
        (WEB, {}, "web", "auto"),
        ("def app(environ, start_response): ...", {}, "wsgi", "auto"),
        ("def app(environ, start_response): ...", {"call_timeout": 1.0}, "wsgi", "auto"),
        ("def app(environ, start_response): ...", {"model": "thread"}, "wsgi", "inline"),
        ("def app(environ, start_response): ...", {"calls": "inline"}, "wsgi", "inline"),
        ("async def app(scope, receive, send): ...", {}, "asgi", "inline"),
        ("async def made(scope, receive, send): ...\ndef app(): return made", {"factory": True}, "asgi", "inline"),
        ("import allcomers\nclass app(allcomers.Service): framing = allcomers.Raw()", {}, "service", "inline"),
    ],
)
def test_the_kind_of_an_app(
    write: Callable[[str], str], source: str, options: dict[str, Any], kind: str, calls: str
) -> None:
    found = app_facts.read(write(source), Config(certfile=("none.pem",), **options))
    assert (found.problem, found.kind, found.calls, found.threads) == ("", kind, calls, ())
    assert "shop" not in sys.modules


def test_the_effects_of_an_import(write: Callable[[str], str]) -> None:
    found = looked(
        write(
            """
            import socket, sys, threading, types
            sys.modules["psycopg"] = sys.modules["requests"] = types.ModuleType("stands for the driver")
            threading.Thread(target=threading.Event().wait, name="Scheduler", daemon=True).start()
            metrics = socket.create_server(("127.0.0.1", 0))
            app = lambda request: None
            """
        )
    )
    assert found.threads == ("Scheduler",)
    (address,) = found.listening
    assert address.startswith("127.0.0.1:")
    assert (found.drivers, found.clients) == (("psycopg",), ("requests",))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import os; os._exit(3)", "loading it ended the process (exit status 3)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "loading it ended the process (SIGKILL)"),
        ("1 / 0", "shop.py failed: ZeroDivisionError: division by zero"),
        ("raise SystemExit(4)", "shop.py failed: SystemExit: 4"),
        ("other = 1", "has no 'app'; it has: other"),
    ],
)
def test_an_app_that_cannot_be_loaded(write: Callable[[str], str], source: str, problem: str) -> None:
    found = app_facts.read(write(source), Config())
    assert found.kind == ""
    assert problem in found.problem
    assert found.traceback.startswith("Traceback") == ("failed" in problem)


def test_an_app_that_is_never_loaded(write: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_facts, "PATIENCE", 0.2)
    found = app_facts.read(write("import signal; signal.pause()"), Config())
    assert found == replace(App(target=found.target), problem="it was not loaded within 0.2 s")


# ------------------------------------------------------------ the command


def doctor(*arguments: str, shell: str = "", **keywords: Any) -> subprocess.CompletedProcess[str]:
    """Run `allcomers doctor`, after some commands of the shell."""
    command = ["sh", "-c", f'{shell}exec "$@"', "sh", sys.executable, "-m", "allcomers", "doctor", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **keywords)


def examined(*arguments: str, shell: str = "", fails: bool = False) -> dict[str, Any]:
    result = doctor(*arguments, "--json", shell=shell)
    assert result.returncode == int(fails), result.stdout + result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def names(report: dict[str, Any]) -> set[str]:
    return {finding["name"] for finding in report["findings"]}


def test_a_report_for_a_person() -> None:
    result = doctor("--workers", "200", "--bind", "127.0.0.1:0")
    assert (result.returncode, result.stderr) == (0, "")
    first, *rest = result.stdout.splitlines()
    assert first.startswith("allcomers ")
    assert f" ({KIND}) on Python " in first
    assert "will hurt" in rest
    assert any(line.startswith("  200 workers ") for line in rest)
    assert any(line.startswith("    → --workers ") for line in rest)
    assert rest[-1].endswith(" things checked, nothing else found.")
    assert max(map(len, rest)) <= 100
    assert "\033" not in result.stdout


def test_a_report_for_a_program() -> None:
    report = examined("--bind", "127.0.0.1:0", "--backlog", "1000000000")
    assert names(report) >= {"backlog"}
    (found,) = [finding for finding in report["findings"] if finding["name"] == "backlog"]
    assert set(found) == {"weight", "name", "seen", "harm", "mend"}
    assert found["weight"] == "hurts"
    assert report["app"] is None
    assert report["looked_at"] > 30


def test_few_descriptors() -> None:
    report = examined("--bind", "127.0.0.1:0", shell="ulimit -n 256; ")
    (found,) = [finding for finding in report["findings"] if finding["name"] == "descriptors"]
    assert found["seen"] == "256 descriptors (ulimit -n)"
    assert "192 clients" in found["harm"]


def test_the_status_is_1_if_something_will_fail() -> None:
    report = examined("--bind", "192.0.2.1:8000", "--access-log", "/nowhere/log", fails=True)
    assert names(report) >= {"address", "access_log"}
    assert report["findings"][0]["weight"] == "fails"


def test_an_app_is_examined(write: Callable[[str], str]) -> None:
    target = write(f"print('hello')\nimport socket\ndoor = socket.create_server(('127.0.0.1', 0))\n{WEB}")
    report = examined(target, "--workers", "2", "--bind", "127.0.0.1:0", fails=True)
    assert report["app"]["target"] == target
    assert report["app"]["memory"] > 0
    assert names(report) >= {"listening_app"}


def test_an_app_that_fails_has_its_traceback(write: Callable[[str], str]) -> None:
    result = doctor(write("1 / 0"), "--bind", "127.0.0.1:0")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert "ZeroDivisionError" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--workers", "0"], "--workers: '0' is not a whole number"),
        (["--frob"], "unrecognized arguments: --frob"),
        (["a:b", "c:d"], "unrecognized arguments: c:d"),
        (["--bind", "nonsense"], "--bind 'nonsense' is not HOST:PORT"),
    ],
)
def test_a_bad_option_is_reported_in_one_line(arguments: list[str], expected: str) -> None:
    result = doctor(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert expected in line


def test_help() -> None:
    result = doctor("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: allcomers doctor [TARGET] [OPTIONS]")
    assert "--json" in result.stdout


@pytest.mark.parametrize("colour", [True, False])
def test_colour_is_for_terminals(colour: bool) -> None:
    reader, writer = pty.openpty()
    env = {**os.environ, "NO_COLOR": "" if colour else "1"}
    command = [sys.executable, "-m", "allcomers", "doctor", "--bind", "127.0.0.1:0", "--backlog", "1000000000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=writer, env=env)
    os.close(writer)
    output = b""
    try:
        while piece := os.read(reader, 4096):
            output += piece
    except OSError:  # EIO: nobody writes there any more (pty(7))
        pass
    os.close(reader)
    assert process.wait(30) == 0
    assert (b"\033[1;33mwill hurt\033[0m" in output) is colour
    assert b"will hurt" in output


def test_it_is_quick() -> None:
    """Without TARGET it takes less than a second of one core."""
    command = [sys.executable, "-m", "allcomers", "doctor", "--bind", "127.0.0.1:0"]
    pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)])
    _, status, used = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert used.ru_utime + used.ru_stime < 1.0

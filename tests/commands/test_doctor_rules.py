"""The doctor's rules: each finds its subject, has the figures, and a remedy that works.

Facts are values, so a test states the fault of an otherwise good system, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf
from typing import Any

import pytest

from allcomers.commands.doctor import OF_A_CERTIFICATE, OF_AN_ADDRESS, OF_THE_APP, RULES, judge, plan
from allcomers.commands.doctor.facts import Address, App, Certificate, Facts, Finding, Weight, many, size
from allcomers.config import options as configs
from allcomers.config.options import Config
from allcomers.models import TABLE, process, thread

FAILS, HURTS, KNOW = Weight.FAILS, Weight.HURTS, Weight.KNOW

GOOD = Facts(cores=1)
LOCAL = Address(text="127.0.0.1:8000", host="127.0.0.1", port=8000, is_local=True)
PUBLIC = Address(text="0.0.0.0:8000", host="0.0.0.0", port=8000, is_public=True)
DAY = 86400.0


def app(kind: str = "web", **fields: Any) -> App:
    return App(target="shop:app", kind=kind, **{"calls": "pool" if kind == "wsgi" else "inline", **fields})


def pem(**fields: Any) -> Certificate:
    return Certificate(certfile="site.pem", keyfile="key.pem", names=fields.pop("names", ("example.org",)), **fields)


@dataclass
class Case:
    """A rule, its weight, the faulty facts and options, and words of the finding.

    mended  the facts after its remedy, if that is not a matter of options
    """

    rule: str
    weight: Weight
    facts: dict[str, Any]
    given: dict[str, str | list[str]] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    mended: dict[str, Any] | None = None

    def find(self, **others: Any) -> tuple[Finding, Config]:
        config = configs.make(self.given)
        findings = judge(replace(GOOD, **{**self.facts, **others}), config).findings
        (finding,) = [finding for finding in findings if finding.name == self.rule]
        return finding, config


CASES = [
    Case(
        "workers_over_quota", HURTS, {"cores": 8, "quota": 1.5}, {"workers": "8"},
        ("8 workers", "quota of 1.5 of 8 cores", "first 19%", "--workers 2", "`auto` counts cores"),
    ),
    Case("workers_over_quota", HURTS, {"cores": 2, "quota": 0.5}, {"workers": "2"}, ("first 25%", "--workers 1")),
    Case("workers_over_cores", HURTS, {"cores": 2}, {"workers": "6"}, ("6 workers on 2 cores",), {"cores": 6}),
    Case("workers_over_cores", KNOW, {"cores": 2}, {"workers": "5"}, ("5 workers on 2 cores",), {"cores": 5}),
    Case("idle_cores", KNOW, {"cores": 4}, {}, ("1 worker, and 4 cores", "3 cores will be idle", "--workers 4")),
    Case("idle_cores", KNOW, {"cores": 8, "quota": 2.5}, {}, ("2 cores", "--workers 2")),
    Case(
        "memory_of_workers", FAILS, {"cores": 8, "memory_limit": 512 << 20, "app": app(memory=150 << 20)},
        {"workers": "4"}, ("4 workers of 150 MiB", "600 MiB", "cgroup's memory limit is 512 MiB", "--workers 2"),
    ),
    Case(
        "memory_of_workers", HURTS, {"cores": 8, "memory": 1 << 30, "app": app(memory=225 << 20)},
        {"workers": "4"}, ("machine's memory is 1 GiB", "--workers 3"),
    ),
    Case(
        "memory_of_workers", FAILS, {"memory_limit": 100 << 20, "app": app(memory=400 << 20)}, {},
        ("a limit of 500 MiB or more",), {"memory_limit": 500 << 20},
    ),
    Case(
        "max_memory_over_limit", HURTS, {"cores": 4, "memory_limit": 1 << 30},
        {"workers": "4", "max_memory": "512M"}, ("may grow to 512 MiB", "--max-memory 204M"),
    ),
    Case(
        "memory_of_requests", HURTS, {"memory_limit": 256 << 20}, {"max_memory_held": "300M"},
        ("up to 300 MiB are held", "of 256 MiB, the cgroup's memory limit", "--max-memory-held 128M"),
    ),
    Case(
        "descriptors", HURTS, {"nofile": 256, "nofile_hard": 4096}, {"max_connections": "1000"},
        ("--max-connections 1,000, and 256 descriptors", "accepts about 192", "--descriptors 4096"), {"nofile": 4096},
    ),
    Case("descriptors", HURTS, {"nofile": 256}, {}, ("192 clients", "LimitNOFILE=65536"), {"nofile": 65536}),
    Case("descriptors", KNOW, {"nofile": 1024, "nofile_hard": inf}, {}, ("960 clients", "--descriptors 65536")),
    Case("descriptors", HURTS, {"nofile": 65536}, {"descriptors": "256"}, ("256 descriptors (--descriptors)",)),
    Case(
        "descriptors_over_hard", FAILS, {"nofile": 256, "nofile_hard": 4096, "uid": 1000}, {"descriptors": "65536"},
        ("--descriptors 65,536, and the hard limit is 4,096", "--descriptors max"), {"uid": 0},
    ),
    Case("descriptors", HURTS, {"nofile": 512}, {"model": "thread"}, ("places for 1,000",), {"nofile": 2048}),
    Case("descriptors", FAILS, {"nofile": 32}, {}, ("32 descriptors", "some tens"), {"nofile": 65536}),
    Case(
        "select_limit", HURTS, {"nofile": 4096}, {"model": "select"},
        ("-m select, and any number of clients", "below 1,024", "--max-connections 960", "-m poll"),
    ),
    Case("select_limit", HURTS, {"nofile": 4096}, {"model": "select", "max_connections": "2000"}, ("2,000 clients",)),
    Case(
        "tasks", HURTS, {"cores": 4, "tasks": 512, "tasks_by": "the cgroup's pids.max"},
        {"model": "thread", "workers": "4"}, ("1,001 threads", "4,005 in all", "leaves 512", "--max-connections 126"),
    ),
    Case("tasks", FAILS, {"cores": 4, "tasks": 50}, {"calls": "pool", "workers": "4"}, ("133 in all", "--threads 11")),
    Case("tasks", FAILS, {"cores": 4, "tasks": 3}, {"workers": "4"}, ("TasksMax=infinity",), {"tasks": inf}),
    Case(
        "stacks", HURTS, {"commit_room": 1 << 30}, {"model": "thread"},
        ("1,001 threads", "8 MiB each", "overcommit_memory=2, which leaves 1 GiB"), {"commit_room": inf},
    ),
    Case("stacks", HURTS, {"address_space": 1 << 30}, {"calls": "pool", "threads": "200"}, ("ulimit -v",)),
    Case(
        "backlog", HURTS, {"somaxconn": 128}, {}, ("--backlog 2,048", "somaxconn is 128", "net.core.somaxconn=2048"),
        {"somaxconn": 2048},
    ),
    Case("syn_backlog", HURTS, {"syncookies": False, "syn_backlog": 512}, {}, ("is 512",), {"syncookies": True}),
    Case("resets_on_overflow", HURTS, {"abort_on_overflow": True}, mended={"abort_on_overflow": False}),
    Case("temp_folder", FAILS, {"temp_problem": "it cannot be written to"}, {}, ("/tmp", "503"), {"temp_problem": ""}),
    Case(
        "temp_folder", HURTS, {"temp_free": 10 << 20, "temp_kind": "tmpfs"}, {},
        ("10 MiB free in /tmp (tmpfs)", "--max-body is 64 MiB", "not even one"), {"temp_free": 1 << 40},
    ),
    Case("temp_folder", KNOW, {"temp_free": 200 << 20}, {}, ("3 such bodies fit",), {"temp_free": 1 << 30}),
    Case(
        "temp_in_memory", HURTS, {"temp_kind": "tmpfs", "memory_limit": 256 << 20}, {},
        ("is a tmpfs", "cgroup's memory limit is 256 MiB", "4 uploads fill it"), {"temp_kind": "ext4"},
    ),
    Case("keep_alive", HURTS, {}, {"keep_alive": "5"}, ("nginx for 60 s", "AWS", "502", "--keep-alive 65")),
    Case("keep_alive", HURTS, {}, {"keep_alive": "60"}, ("--keep-alive 65",)),
    Case("keep_alive", HURTS, {"places": frozenset({"heroku"})}, {}, ("Heroku for 90 s", "--keep-alive 95")),
    Case("keep_alive", HURTS, {"places": frozenset({"google"})}, {}, ("600 s", "--keep-alive 620")),
    Case("keep_alive", KNOW, {"places": frozenset({"kubernetes"})}, {}, ("Traefik for 90 s", "Envoy for 3600 s")),
    Case("fairness", KNOW, {"cores": 4}, {"workers": "4", "model": "thread"}, ("up to 47", "-m epoll")),
    Case("one_at_a_time", HURTS, {}, {"model": "iterative"}, ("1 client at a time", "-m epoll")),
    Case("inline_calls", HURTS, {"app": app("wsgi")}, {"calls": "inline"}, ("a WSGI app", "--calls auto")),
    Case("inline_calls", HURTS, {"app": app(clients=("requests",))}, {}, ("uses requests", "--calls auto")),
    Case(
        "database", KNOW, {"cores": 8, "app": app("wsgi", drivers=("psycopg",))}, {"workers": "8"},
        ("256 calls at once", "psycopg", "PostgreSQL allows 100", "--threads 11"),
    ),
    Case(
        "database", KNOW, {"app": app(drivers=("pymysql",))}, {"model": "thread"},
        ("1,000 calls", "MySQL allows 151", "--max-connections 150"),
    ),
    Case(
        "killed_in_mid_drain", KNOW, {"places": frozenset({"kubernetes"})}, {"drain_delay": "5"},
        ("35 s", "--drain-delay 5", "Kubernetes kills after 30 s", "--graceful-timeout 20", "Seconds: 40"),
    ),
    Case(
        "killed_in_mid_drain", HURTS, {"places": frozenset({"ecs"})}, {"drain_delay": "28"},
        ("a shorter --drain-delay", "stopTimeout: 63"), {"places": frozenset()},
    ),
    Case("killed_in_mid_drain", KNOW, {"places": frozenset({"container"})}, {}, ("docker stop --time 35",)),
    Case("killed_in_mid_drain", KNOW, {"places": frozenset({"systemd"})}, {"graceful_timeout": "120"}, ("Sec=125",)),
    Case("no_drain_delay", HURTS, {"places": frozenset({"kubernetes"})}, {}, ("--drain-delay 5",)),
    Case("websocket_pings", HURTS, {"app": app("asgi")}, {"ws_ping_interval": "0"}, ("60 s", "--ws-ping-interval 20")),
    Case("websocket_pings", HURTS, {"app": app("asgi")}, {"ws_ping_interval": "90"}, ("--ws-ping-interval 90",)),
    Case("hang_before_call", HURTS, {}, {"call_timeout": "120"}, ("--hang-timeout 60", "--hang-timeout 150")),
    Case("root", HURTS, {"uid": 0}, {}, ("as root", "--user www-data")),
    Case("root", KNOW, {"uid": 0, "places": frozenset({"container"})}),
    Case("user", FAILS, {"user_problem": "there is no user 'x'"}, {"group": "x"}, ("--group x",), {"user_problem": ""}),
    Case("http_version", KNOW, {"addresses": (LOCAL,)}, {"http": "2"}, ("--http 2", "--http auto")),
    Case(
        "http_version", KNOW, {"certificates": (pem(),)},
        {"http": "1.1", "certfile": ["site.pem"], "keyfile": ["key.pem"]},
        ("--http 1.1", "six connections", "--http auto"),
    ),
    Case(
        "plain_in_public", HURTS, {"addresses": (PUBLIC,)}, {}, ("0.0.0.0:8000", "--certfile FILE"),
        {"addresses": (LOCAL,)},
    ),
    Case(
        "believes_anybody", HURTS, {"addresses": (PUBLIC,)}, {"forwarded_allow_ips": "*"}, ("allow-ips '*'",),
        {"addresses": (LOCAL,)},
    ),
    Case(
        "believes_anybody", HURTS, {"addresses": (PUBLIC,)}, {"proxy_protocol": "on"}, ("--proxy-protocol",),
        {"addresses": (LOCAL,)},
    ),
    Case("reload_in_public", HURTS, {"addresses": (PUBLIC,)}, {"reload": "on"}, ("HUP",), {"addresses": (LOCAL,)}),
    Case("reload_without_watcher", FAILS, {"packages": frozenset()}, {"reload": "on"}, ("allcomers[reload]",)),
    Case("debug_log", HURTS, {"addresses": (PUBLIC,)}, {"log_level": "debug"}, ("--log-level info",)),
    Case(
        "access_log", FAILS, {"log_problem": "there is no folder '/logs'"}, {"access_log": "/logs/a"},
        ("--access-log /logs/a", "no folder", "install -d -o USER /logs"), {"log_problem": ""},
    ),
    Case("pid_file", FAILS, {"pid_problem": "it is a folder"}, {"pid": "/run"}, ("--pid /run",), {"pid_problem": ""}),
    Case(
        "address", FAILS, {"addresses": (replace(LOCAL, port=80, problem="Permission denied"),)}, {},
        ("Permission denied", "CAP_NET_BIND_SERVICE"), {"addresses": (LOCAL,)},
    ),
    Case("address", KNOW, {"addresses": (replace(LOCAL, is_in_use=True),)}, {}, ("'sport = :8000'",)),
    Case(
        "port_of_clients", HURTS, {"addresses": (replace(LOCAL, text="127.0.0.1:40000", port=40000),)}, {},
        ("127.0.0.1:40000", "from 32768 to 60999", "ip_local_reserved_ports=40000"), {"reserved": ((39000, 41000),)},
    ),
    Case(
        "few_client_ports", KNOW, {"addresses": (LOCAL,), "ports": (61000, 61999), "tw_reuse": False}, {},
        ("1,000 ports", "17 a second", "tcp_tw_reuse=2"), {"tw_reuse": True},
    ),
    Case(
        "certificate", FAILS, {"certificates": (pem(problem="no key"),)}, {}, ("site.pem", "no key"),
        {"certificates": (pem(),)},
    ),
    Case("certificate", FAILS, {"certificates": (pem(expires=DAY),), "now": 4 * DAY}, {}, ("expired 3 days ago",)),
    Case("certificate", FAILS, {"certificates": (pem(begins=2 * DAY),), "now": DAY}, {}, ("valid in 1.0 days",)),
    Case(
        "certificate", HURTS, {"certificates": (pem(expires=9 * DAY),), "now": 2 * DAY}, {}, ("expires in 7 days",),
        {"certificates": (pem(expires=90 * DAY),)},
    ),
    Case(
        "certificate_key", HURTS, {"certificates": (pem(mode=0o644),)}, {}, ("key.pem has mode 0644", "chmod o= key"),
        {"certificates": (pem(mode=0o640),)},
    ),
    Case("certificate_names", HURTS, {"certificates": (pem(names=()),)}, {}, ("subjectAltName",)),
    Case(
        "certificate_names", HURTS,
        {"certificates": (pem(),), "addresses": (replace(PUBLIC, host="www.example.org"),)}, {},
        ("www.example.org", "for example.org"), {"certificates": (pem(names=("*.Example.org",)),)},
    ),
    Case("old_python", HURTS, {"version": (3, 11), "now": 1.9e9}, {}, ("Python 3.11", "2027-10"), {"version": (3, 99)}),
    Case("debug_python", HURTS, {"is_debug": True}, {}, ("debug build",), {"is_debug": False}),
    Case("debug_python", HURTS, {"is_dev": True}, {}, ("PYTHONDEVMODE",), {"is_dev": False}),
    Case("slow_build", KNOW, {"is_optimized": False}, {}, ("--enable-optimizations",), {"is_optimized": True}),
    Case("free_threads_with_gil", HURTS, {"is_free_threaded": True}, {}, ("PYTHON_GIL=0",), {"gil": False}),
    Case("no_uvloop", KNOW, {"packages": frozenset(), "app": app("asgi")}, {}, ("allcomers[uvloop]",)),
    Case("no_uvloop", KNOW, {"packages": frozenset()}, {"model": "asyncio"}, (), {"packages": frozenset({"uvloop"})}),
    Case("no_websockets", KNOW, {"packages": frozenset({"uvloop"}), "app": app("asgi")}, {}, ("websockets",)),
    Case("blocked_websockets", HURTS, {"app": app("asgi")}, {"model": "thread"}, ("-m thread", "-m asyncio")),
    Case(
        "patched_threads", HURTS, {"app": app(patched=True)}, {"model": "thread"},
        ("shop:app calls gevent.monkey.patch_all()", "under -m thread", "-m gevent"),
    ),
    Case("app_problem", FAILS, {"app": app("", problem="there is no module 'shop'")}, {}, ("shop:app", "no module")),
    Case("slow_import", KNOW, {"app": app(seconds=4.25)}, {}, ("4.2 s", "-X importtime -c 'import shop'")),
    Case(
        "threads_before_fork", HURTS, {"app": app(threads=("Scheduler",))}, {"model": "process"},
        ("1 thread (Scheduler) runs", "-m thread"),
    ),
    Case(
        "threads_in_each_worker", KNOW, {"cores": 4, "app": app(threads=("a", "b", "c", "d"))}, {"workers": "4"},
        ("4 threads (a, b, c …) run", "done 4 times"), {"app": app()},
    ),
    Case(
        "listening_app", FAILS, {"cores": 4, "app": app(listening=("127.0.0.1:9100",))}, {"workers": "4"},
        ("127.0.0.1:9100", "first of 4 workers"), {"app": app()},
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_rule_finds_its_subject(case: Case) -> None:
    finding, _ = case.find()
    assert finding.weight is case.weight
    whole = f"{finding.seen}: {finding.harm} → {finding.mend}"
    for words in case.expected:
        assert words in whole


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_mend_mends(case: Case) -> None:
    """Options are applied as they stand in the remedy; for other remedies, the case has the facts after them."""
    finding, config = case.find()
    options = followed(finding.mend)
    if case.mended is not None:
        facts = replace(GOOD, **{**case.facts, **case.mended})
    elif options:
        facts = replace(GOOD, **case.facts)
        config = configs.make({**case.given, **options})
    else:
        pytest.skip("a mend for hands")
    assert case.rule not in {left.name for left in judge(facts, config).findings}


FLAGS = {flag: name for name, _, option in configs.options() for flag in option.flags}


def followed(mend: str) -> dict[str, str | list[str]]:
    """Return the options of the first alternative of a remedy: up to its first comma, "or" or bracket."""
    first = re.split(r",|;| or | \(", mend)[0]
    words = [word.rstrip(":") for word in first.split()]
    given = pairwise(words)
    return {FLAGS[flag]: value for flag, value in given if words[0].startswith("-") and flag in FLAGS}


OTHERS = {"--sysctl", "--ulimit", "--pids-limit", "--time", "--stop-timeout", "--system", "--enable-optimizations"}
OTHERS |= {"--with-lto"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_each_option_in_a_finding_exists(case: Case) -> None:
    finding, _ = case.find()
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", f"{finding.seen} {finding.harm} {finding.mend}"))
    assert flags <= FLAGS.keys() | OTHERS


def test_every_rule_has_a_case() -> None:
    rules = {rule.__name__ for rule in (*RULES, *OF_THE_APP, *OF_AN_ADDRESS, *OF_A_CERTIFICATE)} | {"certificate_names"}
    assert {case.rule for case in CASES} == rules


@pytest.mark.parametrize("model", ["", *(name for name in TABLE if not TABLE[name].obstacle and name != "iterative")])
@pytest.mark.parametrize("kind", ["wsgi", "asgi", "web", "service"])
def test_a_good_system_has_nothing(model: str, kind: str) -> None:
    if kind == "asgi" and model and TABLE[model].events is None:
        return
    given: dict[str, Any] = {"model": model} if model else {}
    if model == "select":
        given["max_connections"] = "900"
    facts = replace(GOOD, app=app(kind, memory=30 << 20), addresses=(LOCAL,), certificates=(pem(),))
    diagnosis = judge(facts, configs.make(given))
    assert diagnosis.findings == ()
    assert diagnosis.looked_at == len(RULES) + len(OF_THE_APP) + len(OF_AN_ADDRESS) + len(OF_A_CERTIFICATE) + 1


def test_the_heaviest_come_first() -> None:
    facts = replace(GOOD, cores=4, somaxconn=128, pid_problem="it is a folder")
    weights = [finding.weight for finding in judge(facts, Config(pid="/run")).findings]
    assert weights == [FAILS, HURTS, KNOW]


@pytest.mark.parametrize(
    ("facts", "given"),
    [
        ({"cores": 4, "gil": False}, {}),
        ({"cores": 4}, {"workers": "2"}),
        ({"cores": 4}, {"model": "process"}),
        ({"cores": 4, "quota": 1.9}, {}),
        ({"cores": 4, "quota": 1.5}, {"workers": "2"}),
        ({"nofile": 100}, {"model": "process"}),
        ({"nofile": 200}, {"model": "thread-pool"}),
        ({"nofile": 1024}, {"model": "select", "max_connections": "900"}),
        ({"nofile": 1124}, {"model": "select", "max_connections": "900"}),
        ({"syn_backlog": 128}, {}),
        ({"temp_problem": "it cannot be written to"}, {"max_body": "512K"}),
        ({"memory_limit": 1 << 40, "temp_kind": "tmpfs"}, {"max_connections": "1000"}),
        ({"places": frozenset({"kubernetes"})}, {"keep_alive": "4000", "drain_delay": "5", "graceful_timeout": "20"}),
        ({"addresses": (PUBLIC,)}, {"certfile": ["site.pem"]}),
        ({"addresses": (PUBLIC,)}, {"forwarded_allow_ips": "10.0.0.1", "keep_alive": "4000"}),
        ({"addresses": (PUBLIC,), "places": frozenset({"ecs"})}, {"graceful_timeout": "20"}),
        ({"addresses": (LOCAL,)}, {"reload": "on", "log_level": "debug"}),
        ({"addresses": (Address(text="localhost:1", host="localhost"),), "certificates": (pem(),)}, {}),
        ({"app": app("service")}, {"keep_alive": "5"}),
        ({"app": app(clients=("requests",))}, {"model": "thread"}),
        ({"app": app(threads=("Scheduler",))}, {}),
        ({"app": app("wsgi", drivers=("psycopg",))}, {}),
        ({"memory_limit": 256 << 20}, {}),
        ({}, {"call_timeout": "30"}),
        ({}, {"call_timeout": "120", "hang_timeout": "0"}),
        ({}, {"call_timeout": "120", "calls": "pool"}),
        ({"uid": 0}, {"user": "www-data"}),
    ],
)
def test_no_finding_without_a_problem(facts: dict[str, Any], given: dict[str, Any]) -> None:
    assert judge(replace(GOOD, **facts), configs.make(given)).findings == ()


def test_the_plan_has_the_limits_of_the_models() -> None:
    for name, own in (
        ("thread", thread.PLACES),
        ("process", process.PLACES),
        ("gevent", 10_000),
        ("thread-pool", 32),
        ("epoll", inf),
    ):
        assert plan.places(GOOD, Config(model=name)) == own
    assert plan.places(GOOD, Config(model="thread-pool", max_connections=8)) == 8
    assert plan.tasks(GOOD, Config(model="process", calls="pool", threads=4, max_connections=10)) == 51
    assert plan.tasks(GOOD, Config(model="thread", max_connections=10)) == 11
    assert plan.tasks(GOOD, Config(model="epoll", calls="pool")) == 33
    assert plan.tasks(replace(GOOD, app=app("web", calls="auto")), Config(model="epoll")) == 34


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1 << 19, "512 KiB"), (1.5 * (1 << 30), "1.5 GiB")]
)
def test_sizes_as_text(count: float, text: str) -> None:
    assert size(count) == text
    assert many(1, "worker") == "1 worker"
    assert many(8000, "worker") == "8,000 workers"

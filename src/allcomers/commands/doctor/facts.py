"""The doctor's types: facts about this system, the options and the app; findings; a diagnosis.

Facts are values: read once, by `system_facts`, `option_facts` and `app_facts`, and judged by the rules. A limit that is
not set, or that this system does not report, is `math.inf`: nothing is wrong with it. The defaults describe a system on
which nothing is wrong, so a test states only its own subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

DRIVERS: Final = {
    **dict.fromkeys(("psycopg", "psycopg2", "asyncpg", "pg8000"), "PostgreSQL"),
    **dict.fromkeys(("MySQLdb", "pymysql", "mysql.connector", "aiomysql", "asyncmy"), "MySQL"),
}
"""{a module that connects to a database: the database}."""


class Weight(Enum):
    """The weight of a finding, the heaviest first. The value is a heading of the report."""

    FAILS = "will fail"
    HURTS = "will hurt"
    KNOW = "worth knowing"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem here, with these options.

    seen  the observation, with its figures
    harm  its effect
    mend  the remedy: options or commands to type
    name  the rule that found it, for programs that read the JSON
    """

    weight: Weight
    seen: str
    harm: str
    mend: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of --bind, tried.

    text       as it was given
    host       "127.0.0.1", "example.org"; empty if it is not a TCP address
    port       0 if it is not a TCP address, or if it stands for any free port
    is_public  whether other machines can connect
    is_local   whether it is a TCP address to which only this machine can connect
    problem    the reason why it cannot be listened on
    is_in_use  whether a process listens there: perhaps this server, already running
    """

    text: str
    host: str = ""
    port: int = 0
    is_public: bool = False
    is_local: bool = False
    problem: str = ""
    is_in_use: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate of --certfile and its key.

    certfile, keyfile  their paths
    problem            the reason why they cannot be used
    names              the host names it is for, as in subjectAltName: "example.org", "*.example.org"
    begins, expires    seconds since the epoch
    mode               permission bits of the key's file
    """

    certfile: str
    keyfile: str
    problem: str = ""
    names: tuple[str, ...] = ()
    begins: float = 0.0
    expires: float = inf
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """TARGET, loaded in a process of its own.

    target     as it was given
    kind       "wsgi", "asgi", "web", "service"; empty if it could not be loaded
    problem    the reason why it could not be loaded or served
    traceback  the app's own part of it
    seconds    the time of loading
    memory     bytes that one more worker with it takes: those that it does not share
    threads    names of the threads that run after the import
    listening  addresses on which the app itself listens after the import
    calls      where its calls run: "inline", "pool" or "auto"
    drivers    database drivers that it has loaded: "psycopg"
    clients    other modules that it has loaded with calls that wait: "requests"
    patched    it has patched the standard library by gevent
    """

    target: str
    kind: str = ""
    problem: str = ""
    traceback: str = ""
    seconds: float = 0.0
    memory: int = 0
    threads: tuple[str, ...] = ()
    listening: tuple[str, ...] = ()
    calls: str = "inline"
    drivers: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    patched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the rules judge, beside the options. Sizes in bytes.

    cores               cores that this process may use
    quota               CPU time that the cgroup grants, in cores
    memory              of the machine
    memory_limit        of the cgroup
    commit_room         left to allocate, if the kernel does not overcommit (vm.overcommit_memory=2)
    address_space       ulimit -v
    stack               of a thread
    nofile, nofile_hard descriptors that a process may have; and may raise that to
    tasks               processes and threads that may still be started; `tasks_by` names the limit
    somaxconn, syn_backlog, syncookies, abort_on_overflow    of the kernel's queues of connections
    tw_reuse            whether a client on this machine may reuse a port that is in TIME_WAIT
    ports, reserved     the range from which the kernel picks a client's port; ranges (first, last) that it excludes
    temp                the temporary folder; `temp_kind` is its file system, `temp_problem` the reason if read-only
    uid                 0 is root
    places              platforms recognized: kubernetes, heroku, ecs, container, systemd; google
    system              "Linux 6.1"
    leaf                "compiled" or "plain Python"
    version             of Python: (3, 13)
    is_debug            whether Python is a debug build
    is_dev              whether it runs in development mode: -X dev, PYTHONDEVMODE
    is_optimized        whether it was built with profile-guided optimization
    is_free_threaded    whether it was built without the GIL; `gil` is whether the GIL is on nevertheless
    packages            optional packages that are installed
    now                 seconds since the epoch
    log_problem, pid_problem, user_problem    the reason why that option cannot be used
    """

    cores: int = 1
    quota: float = inf
    memory: float = inf
    memory_limit: float = inf
    commit_room: float = inf
    address_space: float = inf
    stack: int = 8 << 20
    nofile: float = inf
    nofile_hard: float = inf
    tasks: float = inf
    tasks_by: str = ""
    somaxconn: float = inf
    syn_backlog: float = inf
    syncookies: bool = True
    abort_on_overflow: bool = False
    tw_reuse: bool = True
    ports: tuple[int, int] = (32768, 60999)
    reserved: tuple[tuple[int, int], ...] = ()
    temp: str = "/tmp"
    temp_kind: str = "ext4"
    temp_free: float = inf
    temp_problem: str = ""
    uid: int = 1000
    places: frozenset[str] = frozenset()
    system: str = "Linux"
    leaf: str = "plain Python"
    version: tuple[int, int] = (3, 13)
    is_debug: bool = False
    is_dev: bool = False
    is_optimized: bool = True
    is_free_threaded: bool = False
    gil: bool = True
    packages: frozenset[str] = frozenset({"uvloop", "watchfiles", "websockets"})
    now: float = 0.0
    log_problem: str = ""
    pid_problem: str = ""
    user_problem: str = ""
    addresses: tuple[Address, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    app: App | None = None

    @property
    def is_public(self) -> bool:
        """Whether other machines can connect."""
        return any(address.is_public for address in self.addresses)

    @property
    def usable(self) -> float:
        """The CPU time available, in cores."""
        return min(self.cores, self.quota)

    @property
    def kind(self) -> str:
        """The kind of the app; "" without one."""
        return self.app.kind if self.app else ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings, the heaviest first, and the number of rules that were applied."""

    facts: Facts
    findings: tuple[Finding, ...]
    looked_at: int

    @property
    def will_fail(self) -> bool:
        return any(finding.weight is Weight.FAILS for finding in self.findings)


def size(count: float) -> str:
    """Return a number of bytes as text: "512 KiB", "1.5 GiB"."""
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << bits:
            return f"{count / (1 << bits):.3g} {unit}"
    return f"{count:.0f} bytes"


def many(count: float, noun: str) -> str:
    """Return a count with its noun: "1 worker", "8,000 workers"."""
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"

"""What the doctor knows: facts about this system, about what the options name, and about the app; and a finding.

Facts are values: read once, by `system`, `named` and `app`, and looked at by the rules. A limit that is not set, or
that this system does not tell, is `math.inf`: nothing is wrong with it. The defaults are those of a system on which
nothing is wrong, so a test says only what it is about.
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
"""Modules that talk to a database, and which."""


class Weight(Enum):
    """How much a finding matters, the heaviest first. The value is how it is said."""

    FAILS = "will fail"
    HURTS = "will hurt"
    KNOW = "worth knowing"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that hurts here, with these options.

    seen  what was seen, with its figures
    harm  what that does
    mend  what to type
    name  of the rule that found it, for who reads the JSON
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
    host       "127.0.0.1", "example.org"; empty where it is none of TCP
    port       0 where it is none of TCP, or any free one is meant
    is_public  can others than this machine connect?
    is_local   TCP, from this machine only
    problem    why it cannot be listened on
    is_taken   somebody listens there: this server, already running, perhaps
    """

    text: str
    host: str = ""
    port: int = 0
    is_public: bool = False
    is_local: bool = False
    problem: str = ""
    is_taken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate of --certfile and its key.

    certfile, keyfile  their paths
    problem            why they cannot be used
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
    """What TARGET turned out to be, once loaded in a process of its own.

    target     as it was given
    kind       "wsgi", "asgi", "web", "service"; empty where it could not be loaded
    problem    why it could not be loaded or served
    traceback  the app's own part of it
    seconds    that loading took
    memory     bytes that a further worker with it takes: what it shares with nobody
    threads    names of the threads that run after the import
    listening  addresses that the app itself listens on after the import
    calls      where its calls run, by the options
    drivers    database drivers that it has loaded: "psycopg"
    clients    what else it has loaded that waits for others: "requests"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the rules look at, beside the options. Sizes in bytes.

    cores               that this process may use
    quota               cores' worth of time that the cgroup grants
    memory              the machine's
    memory_limit        the cgroup's
    commit_room         that may still be allocated, where the kernel does not overcommit (vm.overcommit_memory=2)
    address_space       ulimit -v
    stack               of a thread
    nofile, nofile_hard descriptors a process may have; may be raised to
    tasks               processes and threads that may still be started, and `tasks_by` what limits them
    somaxconn, syn_backlog, syncookies, abort_on_overflow    of the kernel's queues of connections
    tw_reuse            may a client on this machine take a port anew that is in TIME_WAIT?
    ports, reserved     the range from which the kernel picks a client's port; (first, last) it leaves alone
    temp                the temporary folder: `temp_kind` of its file system, `temp_free`, `temp_problem` to write there
    uid                 0 is root
    places              where we seem to be: kubernetes, heroku, ecs, container, systemd; google
    system              "Linux 6.1"
    leaf                whether the compiled part runs
    version             of Python: (3, 13)
    is_debug            a debug build of Python
    is_dev              python -X dev, or PYTHONDEVMODE
    is_optimized        built with profile-guided optimization
    is_free_threaded    built without the GIL; `gil` says whether it is on all the same
    packages            of those that we could use, which are installed
    now                 seconds since the epoch
    log_problem, pid_problem, user_problem    why that option will not do
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
        """Can others than this machine connect?"""
        return any(address.is_public for address in self.addresses)

    @property
    def usable(self) -> float:
        """Cores' worth of time that there is."""
        return min(self.cores, self.quota)

    @property
    def kind(self) -> str:
        """Of the app, if it was looked at."""
        return self.app.kind if self.app else ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, the heaviest first, of how many things that were looked at."""

    facts: Facts
    findings: tuple[Finding, ...]
    looked_at: int

    @property
    def will_fail(self) -> bool:
        return any(finding.weight is Weight.FAILS for finding in self.findings)


def size(count: float) -> str:
    """Bytes as a person says them: "512 KiB", "1.5 GiB"."""
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << bits:
            return f"{count / (1 << bits):.3g} {unit}"
    return f"{count:.0f} bytes"


def many(count: float, noun: str) -> str:
    """ "1 worker", "8,000 workers"."""
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"

"""Facts about this system: the kernel, the cgroup and the interpreter. Independent of the options.

Those of the kernel are read from files below `root`, so that a test can supply a tree of its own. A value that is
missing, or in an unknown form, counts as no limit: proc(5), cgroups(7), and the kernel's
Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/ and networking/ip-sysctl.rst.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from math import inf
from pathlib import Path

from allcomers.commands.doctor.facts import Facts
from allcomers.config.checks import cores
from allcomers.system.memory.cgroup import Cgroup, Files
from allcomers.system.memory.ledger import free, temp_folder

_PACKAGES = ("uvloop", "watchfiles", "websockets")
_STACK_IF_UNLIMITED = 2 << 20
"""glibc's stack of a thread if `ulimit -s` is unlimited (pthread_create(3))."""


def read(root: str = "/") -> Facts:
    """Return all facts that do not depend on the options."""
    files = Files(Path(root))
    return _with_interpreter(_with_network(_with_temp(_machine(files), files), files))


def _machine(files: Files) -> Facts:
    cgroup = Cgroup(files)
    uid = os.geteuid()
    tasks, tasks_by = _tasks(cgroup, uid)
    stack = _limit(resource.RLIMIT_STACK)[0]
    nofile, nofile_hard = _limit(resource.RLIMIT_NOFILE)
    return Facts(
        cores=cores(),
        quota=cgroup.quota(),
        memory=files.table("proc/meminfo").get("MemTotal", inf),
        memory_limit=cgroup.memory(),
        commit_room=_commit_room(files),
        address_space=_limit(resource.RLIMIT_AS)[0],
        stack=_STACK_IF_UNLIMITED if stack == inf else int(stack),
        nofile=nofile,
        nofile_hard=nofile_hard,
        tasks=tasks,
        tasks_by=tasks_by,
        uid=uid,
        places=_places(files, dict(os.environ)),
        system=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        now=time.time(),
    )


def _with_network(facts: Facts, files: Files) -> Facts:
    return replace(
        facts,
        somaxconn=files.number("proc/sys/net/core/somaxconn"),
        syn_backlog=files.number("proc/sys/net/ipv4/tcp_max_syn_backlog"),
        syncookies=files.number("proc/sys/net/ipv4/tcp_syncookies") > 0,
        abort_on_overflow=files.words("proc/sys/net/ipv4/tcp_abort_on_overflow") == ["1"],
        tw_reuse=files.number("proc/sys/net/ipv4/tcp_tw_reuse") > 0,  # 2: for connections of this machine to itself
        ports=_ports(files),
        reserved=_reserved(files),
    )


def _with_temp(facts: Facts, files: Files) -> Facts:
    temp = temp_folder()
    return replace(
        facts,
        temp=temp,
        temp_kind=_filesystem(files, temp),
        temp_free=free(temp),
        temp_problem="" if os.access(temp, os.W_OK | os.X_OK) else "it cannot be written to",
    )


def _with_interpreter(facts: Facts) -> Facts:
    return replace(
        facts,
        version=sys.version_info[:2],
        is_debug=hasattr(sys, "gettotalrefcount"),
        is_dev=sys.flags.dev_mode,
        is_optimized=_is_optimized(),
        is_free_threaded=bool(_build("Py_GIL_DISABLED")),
        gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
        packages=frozenset(name for name in _PACKAGES if find_spec(name)),
        leaf=leaf(),
    )


def leaf() -> str:
    """Return the kind of code that handles heads and responses: "compiled" or "plain Python"."""
    from allcomers.protocol.compiled import KIND

    return KIND


def _limit(number: int) -> tuple[float, float]:
    """Return (soft, hard) of a resource limit."""
    soft, hard = (inf if value == resource.RLIM_INFINITY else value for value in resource.getrlimit(number))
    return soft, hard


def _tasks(cgroup: Cgroup, uid: int) -> tuple[float, str]:
    """Return (the tasks that may still be started, the limit's name). `ulimit -u` does not bind root (getrlimit(2))."""
    own = inf if uid == 0 else _limit(resource.RLIMIT_NPROC)[0]
    room = cgroup.tasks()
    return (own, "ulimit -u") if own < room else (room, "the cgroup's pids.max")


def _commit_room(files: Files) -> float:
    if files.words("proc/sys/vm/overcommit_memory") != ["2"]:
        return inf
    memory = files.table("proc/meminfo")
    return max(0, memory.get("CommitLimit", inf) - memory.get("Committed_AS", 0))


def _ports(files: Files) -> tuple[int, int]:
    words = files.words("proc/sys/net/ipv4/ip_local_port_range")
    return (int(words[0]), int(words[1])) if len(words) == 2 else Facts().ports


def _reserved(files: Files) -> tuple[tuple[int, int], ...]:
    """Return "8080,9000-9010" as ((8080, 8080), (9000, 9010))."""
    ranges = []
    for part in files.text("proc/sys/net/ipv4/ip_local_reserved_ports").strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            ranges.append((int(first), int(last or first)))
    return tuple(ranges)


def _filesystem(files: Files, folder: str) -> str:
    """Return the type of the file system of `folder`: of the longest mount point above it, the last mounted."""
    whole = Path(folder).resolve()
    best, kind = -1, ""
    for line in files.text("proc/self/mounts").splitlines():
        _, point, here, *_ = line.split(" ")
        mount = Path(point.replace("\\040", " "))
        if (mount == whole or mount in whole.parents) and len(mount.parts) >= best:
            best, kind = len(mount.parts), here
    return kind


def _places(files: Files, environ: dict[str, str]) -> frozenset[str]:
    """Return the platforms that this process seems to run on, by the traces that each leaves."""
    vendor = files.text("sys/class/dmi/id/product_name").strip()
    traces = {
        "kubernetes": "KUBERNETES_SERVICE_HOST" in environ,
        "heroku": "DYNO" in environ,
        "ecs": "ECS_CONTAINER_METADATA_URI_V4" in environ,
        "google": vendor == "Google Compute Engine",
        "container": files.exists(".dockerenv") or files.exists("run/.containerenv"),
        "systemd": files.exists("run/systemd/system"),  # sd_booted(3)
    }
    return frozenset(place for place, seen in traces.items() if seen)


def _build(name: str) -> object:
    import sysconfig  # here, because its table takes some milliseconds to load

    return sysconfig.get_config_var(name)


def _is_optimized() -> bool:
    """Return False if Python was built without profiles. A distribution's (below /usr) does not record that: True."""
    arguments = _build("CONFIG_ARGS")
    return sys.base_prefix == "/usr" or not isinstance(arguments, str) or "--enable-optimizations" in arguments

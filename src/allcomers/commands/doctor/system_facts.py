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
        cores=_cores(),
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
    temp = _temp()
    return replace(
        facts,
        temp=temp,
        temp_kind=_filesystem(files, temp),
        temp_free=_free(temp),
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


class Files:
    """The kernel's small files below a root. No method raises: a missing file counts as empty."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def text(self, path: str | Path) -> str:
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def words(self, path: str | Path) -> list[str]:
        return self.text(path).split()

    def number(self, path: str | Path) -> float:
        """Return the number in a file; inf for "max", -1 (no limit, in cgroup v1) and all that is not a number."""
        words = self.words(path)
        return int(words[0]) if len(words) == 1 and words[0].isdigit() else inf

    def table(self, path: str | Path) -> dict[str, int]:
        """Return the bytes in a file of lines "Name:  123 kB", by name."""
        rows = (line.split() for line in self.text(path).splitlines())
        return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[1].isdigit()}

    def exists(self, path: str | Path) -> bool:
        return (self._root / path).exists()


class Cgroup:
    """The limits of this process's control groups: the least of its own and of all above it (cgroups(7))."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._paths = {}  # controller → path; "" is version 2
        for line in files.text("proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                self._paths[controller] = path

    def quota(self) -> float:
        """Return the CPU time granted, in cores."""
        quotas = [inf]
        for folder in self._folders():
            words = self._files.words(folder / "cpu.max")
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
                quotas.append(int(words[0]) / int(words[1]))
        for folder in self._folders("cpu"):
            period = self._files.number(folder / "cpu.cfs_period_us")
            if period < inf:
                quotas.append(self._files.number(folder / "cpu.cfs_quota_us") / period)
        return min(quotas)

    def memory(self) -> float:
        """Return the limit in bytes."""
        return self._least("memory.max", "memory", "memory.limit_in_bytes")

    def tasks(self) -> float:
        """Return the number of processes and threads that may still be started."""
        rooms = [inf]
        for folder in (*self._folders(), *self._folders("pids")):
            most = self._files.number(folder / "pids.max")
            if most < inf:
                current = self._files.number(folder / "pids.current")
                rooms.append(most - (current if current < inf else 0))
        return max(0, min(rooms))

    def _least(self, file: str, controller: str, old_file: str) -> float:
        new = [self._files.number(folder / file) for folder in self._folders()]
        old = [self._files.number(folder / old_file) for folder in self._folders(controller)]
        # In version 1, no limit is the largest multiple of a page.
        return min((limit for limit in (*new, *old) if limit < 1 << 62), default=inf)

    def _folders(self, controller: str = "") -> list[Path]:
        """Return the folders of our group and of those above it, at each usual mount point.

        In a container of version 1 the path is the host's and leads nowhere; our group is then the mount itself, which
        is the last folder.
        """
        path = self._paths.get(controller)
        if path is None:
            return []
        places = [f"sys/fs/cgroup/{controller}"] if controller else ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        inner = Path(path.strip("/"))
        return [Path(place) / folder for place in places for folder in (inner, *inner.parents)]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def _temp() -> str:
    """Return the folder of request bodies: the choice of `tempfile`, without the file that it writes as a test."""
    named = [folder for name in ("TMPDIR", "TEMP", "TMP") if (folder := os.environ.get(name))]
    folders = [folder for folder in (*named, "/tmp", "/var/tmp", "/usr/tmp", ".") if Path(folder).is_dir()]
    usable = (folder for folder in folders if os.access(folder, os.W_OK | os.X_OK))
    return next(usable, folders[0] if folders else "/tmp")


def _free(folder: str) -> float:
    try:
        found = os.statvfs(folder)
    except OSError:
        return inf
    return found.f_bavail * found.f_frsize


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

"""The limits of this process's control groups, and the memory that it may use (cgroups(7)).

All is read from files below a root, so that a test can supply a tree of its own. A value that is missing, or in an
unknown form, counts as no limit: proc(5), and the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

from math import inf
from pathlib import Path


def memory(root: str = "/") -> float:
    """Return the bytes of memory that this process and the others of its cgroup may use; inf if nobody tells."""
    files = Files(Path(root))
    return min(Cgroup(files).memory(), files.table("proc/meminfo").get("MemTotal", inf))


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

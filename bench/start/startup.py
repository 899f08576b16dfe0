"""From exec of `allcomers serve examples/site` to its first answered request, by phases.

Median of 20 runs, server and client on a core each. The clock starts before fork and exec; `Listening` is read
from a pipe without polling; then one request is sent on a new connection. Each run is paired with two others
on the same core: the interpreter that does nothing, and one that imports all that the command had imported by
`Listening`. What is left before `Listening` is the command's own work: options, the app, listen, fork. Beside
each time stands the CPU time of the process tree, which is the better figure where others use the machine.
The list of the dearest imports is `python -X importtime` of the same command, whose clock makes each look dearer.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import time
from typing import NamedTuple

from bench.support import clients, harness, processes

IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


class Spent(NamedTuple):
    ms: float
    cpu_ms: float

    def beyond(self, other: "Spent") -> "Spent":
        return Spent(self.ms - other.ms, self.cpu_ms - other.cpu_ms)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--site", default="examples/site")
    parser.add_argument("--top", type=int, default=15, help="number of imports to list")
    parser.add_argument("more", nargs="*", help="further options of allcomers, after --")


def run(args: argparse.Namespace) -> None:
    harness.pin(harness.LOAD_CORE)
    # As for a user who has installed it: nothing is compiled anew at each start, whatever this shell has set.
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(harness.OUT / "pycache")}
    command = harness.allcomers("serve", args.site, *args.more).command
    imported = imports(command)
    phases: dict[str, list[Spent]] = {}
    for number in range(args.runs + 1):
        times = round_of(command, list(imported))
        if number:  # the first warms the page cache
            for phase, spent in times.items():
                phases.setdefault(phase, []).append(spent)
    print(f"\n{' '.join(command[1:])}: ms, median (lowest..highest) of {args.runs} runs\n")
    harness.table(
        ["phase", "ms", "CPU ms"],
        [
            [phase, harness.spread([s.ms for s in spent], 1), harness.spread([s.cpu_ms for s in spent], 1)]
            for phase, spent in phases.items()
        ],
    )
    print(f"\nthe dearest of {len(imported)} imports, by their own time\n")
    dearest = sorted(imported.items(), key=lambda item: -item[1])[: args.top]
    harness.table(["module", "ms"], [[module, f"{micros / 1000:.2f}"] for module, micros in dearest])
    harness.save("startup", {"ms": phases, "imports_us": imported})


def round_of(command: list[str], imported: list[str]) -> dict[str, Spent]:
    """Measure all phases once, each by itself."""
    bare = timed([sys.executable, "-c", ""])
    wanted = [module for module in imported if "__main__" not in module]
    loading = "import sys\nfor name in sys.argv[1:]:\n try: __import__(name)\n except Exception: pass"
    loaded = timed([sys.executable, "-c", loading, *wanted])
    listening, answered = first_answer(command)
    return {
        "interpreter": bare,
        "imports": loaded.beyond(bare),
        "options, app, listen, fork": listening.beyond(loaded),
        "Listening → first answer": answered.beyond(listening),
        "exec → first answer": answered,
    }


def timed(command: list[str]) -> Spent:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, preexec_fn=harness.in_child(harness.SERVER_CORE))
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(took * 1000, used * 1000)


def first_answer(command: list[str]) -> tuple[Spent, Spent]:
    """Return when it logged Listening, and when the first request was answered in full, after the start."""

    def so_far() -> Spent:
        took = time.perf_counter() - started
        return Spent(took * 1000, sum(map(processes.task_ns, processes.tree(process.pid))) / 1e6)

    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=harness.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=harness.in_child(harness.SERVER_CORE),
    )
    try:
        assert process.stderr
        line = process.stderr.readline()
        listening = so_far()
        found = harness.LISTENING.search(line)
        if not found:
            raise harness.CannotMeasureError(f"logged {line!r} instead of Listening")
        with clients.connect((found[1].decode(), int(found[2]))) as sock:
            sock.sendall(clients.REQUEST)
            status = clients.receive(sock).status
        answered = so_far()
        if status != 200:
            raise harness.CannotMeasureError(f"the first answer was a {status}")
    finally:
        harness.end(process, harness.Launch(command))
    return listening, answered


def imports(command: list[str]) -> dict[str, int]:
    """Yield each module that the command imports, in order, with its own microseconds."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command],
        cwd=harness.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=harness.in_child(harness.SERVER_CORE),
        text=True,
    )
    found: dict[str, int] = {}
    try:
        for line in process.stderr or ():
            if "Listening at" in line:
                break
            if match := IMPORT.match(line):
                found[match[2]] = int(match[1])
        else:
            raise harness.CannotMeasureError("never listened under -X importtime")
    finally:
        harness.end(process, harness.Launch(command))
    return found

"""From exec of `allcomers serve examples/site` to its first answered request, and what that time is spent on.

Median of 20 runs, server and client on a core each. The clock starts before fork and exec; `Listening` is read
from a pipe without polling; then one request is sent on a new connection. Each run is paired with two others
on the same core: the interpreter that does nothing, and one that imports all that the command had imported by
`Listening`. What is left before `Listening` is the command's own work: options, the app, listen, fork. The
list of the dearest imports is `python -X importtime` of the same command, whose clock makes each look dearer.
"""

import argparse
import re
import subprocess
import sys
import time

from bench import clients, harness

IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--site", default="examples/site")
    parser.add_argument("--top", type=int, default=15, help="how many imports to list")
    parser.add_argument("more", nargs="*", help="further options of allcomers, after --")


def run(args: argparse.Namespace) -> None:
    harness.pin(harness.LOAD_CORE)
    command = harness.allcomers("serve", args.site, *args.more).command
    imported = imports(command)
    phases: dict[str, list[float]] = {}
    for number in range(args.runs + 1):
        times = round_of(command, list(imported))
        if number:  # the first warms the page cache
            for phase, taken in times.items():
                phases.setdefault(phase, []).append(taken)
    print(f"\n{' '.join(command[1:])}: ms, median (lowest..highest) of {args.runs} runs\n")
    harness.table(["phase", "ms"], [[phase, harness.spread(taken, 1)] for phase, taken in phases.items()])
    print(f"\nthe dearest of {len(imported)} imports, by their own time\n")
    dearest = sorted(imported.items(), key=lambda item: -item[1])[: args.top]
    harness.table(["module", "ms"], [[module, f"{micros / 1000:.2f}"] for module, micros in dearest])
    harness.save("startup", {"ms": phases, "imports_us": imported})


def round_of(command: list[str], imported: list[str]) -> dict[str, float]:
    """All phases once, each by itself, in ms."""
    bare = timed([sys.executable, "-c", ""])
    wanted = [module for module in imported if "__main__" not in module]
    loading = "import sys\nfor name in sys.argv[1:]:\n try: __import__(name)\n except Exception: pass"
    loaded = timed([sys.executable, "-c", loading, *wanted])
    listening, answered = first_answer(command)
    return {
        "interpreter": bare,
        "imports": loaded - bare,
        "options, app, listen, fork": listening - loaded,
        "Listening → first answer": answered - listening,
        "exec → first answer": answered,
    }


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, preexec_fn=harness.in_child(harness.SERVER_CORE))
    return (time.perf_counter() - began) * 1000


def first_answer(command: list[str]) -> tuple[float, float]:
    """When it said Listening, and when the first request was answered in full; ms after the start."""
    began = time.perf_counter()
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
        listening = time.perf_counter() - began
        found = harness.LISTENING.search(line)
        if not found:
            raise harness.CannotMeasureError(f"said {line!r} instead of Listening")
        with clients.connect((found[1].decode(), int(found[2]))) as sock:
            sock.sendall(clients.REQUEST)
            status = clients.receive(sock).status
        answered = time.perf_counter() - began
        if status != 200:
            raise harness.CannotMeasureError(f"the first answer was a {status}")
    finally:
        harness.end(process, harness.Launch(command))
    return listening * 1000, answered * 1000


def imports(command: list[str]) -> dict[str, int]:
    """Each module that the command imports, in order, with its own microseconds."""
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

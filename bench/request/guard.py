"""A guard of the instructions that eight ways cost: no more than 2 % above those recorded.

Counted as by `bench instructions`, and compared with bench/request/recorded.json. Those hold for one Python, one
compiler and one libc: elsewhere nothing is compared, and a line says so. --record writes them anew: do so in the
commit that changes them, with a word why. Needs valgrind; exit status 1 for more than is allowed.
"""

import argparse
import json
import platform
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from allcomers.protocol.compiled import KIND
from bench.request.instructions import counted
from bench.support import harness

KINDS: Final = ("web", "post", "file", "wsgi", "asgi", "stream-wsgi", "stream-asgi", "websocket")
"""The ways. Not those with threads: which one runs differs from run to run, by more than is allowed."""

ALLOWED: Final = 0.02
RECORDED: Final = Path(__file__).with_name("recorded.json")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", action="store_true", help="write what is counted now")
    parser.add_argument("--kinds", type=harness.names, default=list(KINDS), help="some of the ways")


def run(args: argparse.Namespace) -> None:
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"where": None, "figures": {}}
    where = surroundings()
    if not args.record and recorded["where"] != where:
        print(f"nothing is compared: the figures were recorded with {described(recorded['where'])},")
        print(f"and this is {described(where)}. Record your own: python -m bench guard --record")
        return
    figures = {kind: counts(kind) for kind in args.kinds}
    if args.record:
        kept = recorded["figures"] if recorded["where"] == where else {}
        RECORDED.write_text(json.dumps({"where": where, "figures": kept | figures}, indent=1, sort_keys=True) + "\n")
        print(f"recorded {RECORDED.relative_to(harness.ROOT)}")
        return
    for kind in list(figures):  # what depends on the clock, as a Date line, comes more often on a busy machine
        if any(is_above for *_, is_above in compared({kind: figures[kind]}, recorded["figures"])):
            figures[kind] = {name: min(figures[kind][name], count) for name, count in counts(kind).items()}
    rows = list(compared(figures, recorded["figures"]))
    harness.table(["way", "recorded", "now", "change"], [row[:4] for row in rows])
    if above := [row[0] for row in rows if row[4]]:
        print(f"\nmore than {ALLOWED:.0%} above what was recorded: {', '.join(above)}")
        raise SystemExit(1)


def counts(kind: str) -> dict[str, int]:
    return {name: round(count) for name, count in counted(kind)}


def compared(
    figures: dict[str, dict[str, int]], recorded: dict[str, dict[str, int]]
) -> Iterator[tuple[str, str, str, str, bool]]:
    """Yield (way, recorded, now, change, whether that is too much) for each step."""
    for kind, steps in figures.items():
        for name, now in steps.items():
            before = recorded.get(kind, {}).get(name)
            way = f"{kind}: {name}"
            if before is None:
                yield way, "none", f"{now:,}", "", False
            else:
                yield way, f"{before:,}", f"{now:,}", f"{now / before - 1:+.1%}", now > before * (1 + ALLOWED)


def surroundings() -> dict[str, str]:
    """Return what the figures depend on beside the code."""
    compiler = subprocess.run(
        [*sysconfig.get_config_var("CC").split(), "--version"], capture_output=True, text=True, check=False
    )
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "compiler": compiler.stdout.partition("\n")[0],
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "build": KIND,
    }


def described(where: dict[str, Any] | None) -> str:
    return "nothing" if where is None else ", ".join(where.values())

"""The first response of every server that the comparison has for a small text, from exec until it is complete.

In shuffled rounds, server and client on a core each, bytecode cached. The request is sent as soon as the server reports
that it listens, or seems to.
"""

import argparse
import random
import time

from bench.comparison import peers
from bench.comparison.check import exchange
from bench.comparison.workloads import WORKLOADS
from bench.support import harness
from bench.support.harness import CannotMeasureError

TEXT = next(workload for workload in WORKLOADS if workload.name == "text")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--servers", type=harness.names, default=list(TEXT.servers), metavar="NAME,...")
    parser.add_argument("--runs", type=int, default=9)


def run(args: argparse.Namespace) -> None:
    harness.pin(harness.LOAD_CORE)
    peers.prepare()
    found: dict[str, list[float]] = {name: [] for name in args.servers}
    for number in range(args.runs + 1):
        for name in random.Random(number).sample(args.servers, len(args.servers)):
            try:
                ms = first(name)
            except CannotMeasureError as error:
                harness.warn(f"{name}: {error}")
                continue
            if number:  # the first fills the caches
                found[name].append(ms)
    ranked = sorted((name for name in found if found[name]), key=lambda name: harness.percentile(found[name], 50))
    harness.table(["server", "first answer, ms"], [[name, harness.spread(found[name], 0)] for name in ranked])
    harness.save("first", found)


def first(name: str) -> float:
    """Return milliseconds."""
    launch = peers.launch(name, TEXT)
    started = time.monotonic()
    with harness.serving(launch) as server:
        exchange(TEXT, server.address, 0)  # sends twice
        return (time.monotonic() - started) * 1000

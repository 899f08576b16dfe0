"""`python -m tests.frameworks [NAME …] [--quick] [--model M]`: other projects' suites against this server.

Starlette's TestClient is replaced by one that uses sockets; uvicorn's tests have their server replaced; httpx and
requests test their clients against apps that are served here; httpbin's and Flask's tests use sockets too.
left_out.toml names the tests that are left out, with reasons. The table says how many tests met this server, passed,
failed, and were left out. The exit status is 1 if a test failed that is not a known failure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from bench.support.pages import write
from tests.frameworks import environment
from tests.frameworks.plugins.matching import reason
from tests.frameworks.suites import HERE, SUITES, Lists, Suite, lists

PYTEST = (
    *(str(environment.PYTHON), "-m", "pytest", "-o", "addopts=", "-q", "--tb=short", "--timeout=30", "--rootdir", "."),
    *("-p", "report", "-p", "no:cacheprovider", "-p", "no:httpbin"),  # pytest-httpbin's server is not wanted
)


class Row(NamedTuple):
    """The results of a suite: numbers of tests.

    met      used the server
    apart    passed without it
    unknown  (test, message) of failures that are not known ones
    known    (test, message) of those that are
    mended   tests that are known failures, and passed
    """

    suite: Suite
    met: int
    passed: int
    failed: int
    skipped: int
    left_out: int
    apart: int
    unknown: list[tuple[str, str]]
    known: list[tuple[str, str]]
    mended: list[str]
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(suite.name for suite in SUITES)}")
    parser.add_argument("--quick", action="store_true", help="the part that CI runs")
    parser.add_argument("--model", default="", help="serve by this model where the server has a thread of its own")
    parser.add_argument("--write", action="store_true", help="put the table into docs/frameworks.md")
    parser.add_argument("--reasons", action="store_true", help="tell how many tests each reason leaves out")
    parser.add_argument("--verbose", action="store_true", help="show pytest's own output")
    options = parser.parse_args()
    unknown = set(options.names) - {suite.name for suite in SUITES}
    if unknown:
        parser.error(f"there is no suite {', '.join(sorted(unknown))}")
    suites = [suite for suite in SUITES if not options.names or suite.name in options.names]
    if options.quick:
        suites = [suite._replace(paths=suite.quick) for suite in suites if suite.quick]
    found = lists()
    folders = environment.prepare([suite.sdist for suite in suites], [need for suite in suites for need in suite.needs])
    rows = []
    for suite in suites:
        rows.append(run(suite, folders[suite.sdist], found, options))
        print(f"{suite.name}: {rows[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    print(table(rows, found))
    if options.write:
        write("suites", table(rows, found))
    return tell(rows)


def run(suite: Suite, folder: Path, found: Lists, options: argparse.Namespace) -> Row:
    with tempfile.TemporaryDirectory(prefix="wire-") as scratch:
        left_out, results = Path(scratch, "left-out.json"), Path(scratch, "results.jsonl")
        left_out.write_text(json.dumps(found.left_out[suite.name]), encoding="utf-8")
        results.touch()
        began = time.monotonic()
        done = subprocess.run(
            [*PYTEST, "-p", suite.plugin, *suite.options, *suite.paths],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join((str(environment.ROOT / "src"), str(HERE / "plugins"))),
                "WIRE_LEFT_OUT": str(left_out),
                "WIRE_RESULTS": str(results),
                "WIRE_MODEL": options.model,
            },
            stdout=None if options.verbose else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        told = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
        if done.returncode not in (0, 1) or not told:
            raise SystemExit(f"{suite.name}: pytest ended with {done.returncode}\n{done.stdout or ''}")
        if options.reasons:
            show_reasons(suite, told)
        return row(suite, told, found, time.monotonic() - began)


def row(suite: Suite, told: list[dict[str, Any]], found: Lists, seconds: float) -> Row:
    known = found.known[suite.name]
    failed = [test for test in told if test["outcome"] == "failed"]
    passed = [test for test in told if test["outcome"] == "passed"]
    met = [test for test in passed if test["contacts"]]
    return Row(
        suite=suite,
        met=len(met) + len(failed),
        passed=len(met),
        failed=len(failed),
        skipped=sum(test["outcome"] == "skipped" for test in told),
        left_out=sum(test["outcome"] == "left out" for test in told),
        apart=len(passed) - len(met),
        unknown=[(test["test"], test["why"]) for test in failed if not reason(known, test["test"])],
        known=[(test["test"], test["why"]) for test in failed if reason(known, test["test"])],
        mended=[test["test"] for test in passed if reason(known, test["test"])],
        seconds=seconds,
    )


def show_reasons(suite: Suite, told: list[dict[str, Any]]) -> None:
    counts = Counter(test["why"] for test in told if test["outcome"] == "left out")
    for why, count in counts.most_common():
        print(f"{suite.name:10} {count:5}  {why}")


def table(rows: list[Row], found: Lists) -> str:
    """Return the results of all suites as a table of Markdown."""
    lines = [
        "",
        "| suite | met this server | passed | failed | left out | skipped by the suite | passed without a server |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in rows:
        name = one.suite.sdist.replace("==", " ")
        numbers = (one.met, one.passed, one.failed, one.left_out, one.skipped, one.apart)
        lines.append(f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |")
    lines += [f"| {name} {version} | none: {why} | | | | | |" for name, version, why in found.no_suite]
    return "\n".join(lines) + "\n"


def tell(rows: list[Row]) -> int:
    """Print what differs from left_out.toml. Return the exit status."""
    for one in rows:
        if one.mended:
            print(f"{one.suite.name}: {len(one.mended)} known failures passed, as {one.mended[0]}")
        for test, why in one.known:
            print(f"{one.suite.name}: {test} failed, as is known: {why.partition(chr(10))[0][:160]}")
        for test, why in one.unknown:
            print(f"{one.suite.name}: {test} failed: {why.partition(chr(10))[0][:160]}")
    unknown = sum(len(one.unknown) for one in rows)
    # The line by which CI counts.
    print(f"\nframeworks: {sum(one.passed for one in rows)} passed, {unknown} failed")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())

"""Run one benchmark: `python -m bench NAME [OPTIONS]`; without a name, `performance`: `make bench`."""

import argparse
import importlib
import sys

from bench.support import harness

FOLDERS = {
    "comparison": ("performance",),
    "request": ("cost", "instructions", "guard", "greenlets", "websocket"),
    "start": ("startup", "first"),
    "endurance": ("bounds", "idle", "slow", "signals", "uploads", "soak"),
    "sharing": ("fairness", "shares"),
    "measuring": ("generator", "lab"),
    "overload": ("overload",),
    "life": ("life", "restarts", "rolling"),
    "frameworks": ("middlewares", "asgi_faults", "wsgi_faults"),
    "applications": ("applications",),
}
"""The benchmarks of each folder, whose name is what they measure."""

MODULES = {
    name: f"bench.{folder}" if name == "applications" else f"bench.{folder}.{name}"
    for folder, names in FOLDERS.items()
    for name in names
}


def main(argv: list[str]) -> int:
    if argv[:1] in (["-h"], ["--help"]):
        return listing(unknown=None)
    if not argv or argv[0].startswith("-"):
        argv = ["performance", *argv]
    if argv[0] not in MODULES:
        return listing(unknown=argv[0])
    module = importlib.import_module(MODULES[argv[0]])
    parser = argparse.ArgumentParser(
        prog=f"python -m bench {argv[0]}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.options(parser)
    try:
        module.run(parser.parse_args(argv[1:]))
    except harness.CannotMeasureError as error:
        print(f"bench {argv[0]}: {error}", file=sys.stderr)
        return 1
    return 0


def listing(unknown: str | None) -> int:
    if unknown:
        print(f"There is no benchmark {unknown!r}.\n", file=sys.stderr)
    print("python -m bench [NAME] [--help]; without a name, performance\n")
    width = max(map(len, MODULES)) + 2
    for name, module in MODULES.items():
        doc = importlib.import_module(module).__doc__ or ""
        print(f"  {name:{width}}{doc.splitlines()[0]}")
    return 2 if unknown else 0


sys.exit(main(sys.argv[1:]))

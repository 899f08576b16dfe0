"""`make chaos`, or `PYTHONPATH=tests python -m chaos [--seconds N] [--seed N] [--models M,N] [--calls C,D]`.

Every model with every --calls is a round; the time is shared among them. Interface, TLS, faults and what each client
does follow from the seed, which is printed; what the kernel's scheduler makes of it differs each time. The exit status
is 1 if anything differs from what it should be.
"""

from __future__ import annotations

import argparse
import random
import ssl
import sys
import tempfile
import time
from pathlib import Path

import trustme

from allcomers.models import TABLE
from chaos.rounds import Combination, Outcome, Round

LEAST = 4.0
"""Seconds that a round has at least, beside OVERHEAD."""

OVERHEAD = 7.0
"""Seconds that a round takes for all but chaos: its server starts and stops, and rests."""

CALLS = ("inline", "pool", "auto")


def combinations(models: list[str], calls: list[str], draw: random.Random) -> list[Combination]:
    """Return each model with each of `calls`; one of each model's rounds has the ASGI app, half have TLS.

    No model comes twice before all have come once: where the time is short, each has its share.
    """
    asynchronous = {model: number % max(2, len(calls)) for number, model in enumerate(draw.sample(models, len(models)))}
    return [
        Combination(model, where, "asgi" if asynchronous[model] == number else "wsgi", draw.random() < 0.5)
        for number, where in enumerate(calls)
        for model in models
    ]


def play(chosen: list[Combination], seed: int, seconds: float) -> bool:
    """Play a round of each, as long as there is time; return whether all was as it should be."""
    until = time.monotonic() + seconds
    is_right = True
    with tempfile.TemporaryDirectory(prefix="allcomers-chaos-") as folder:
        certificate, trusted = _certificate(Path(folder))
        for number, what in enumerate(chosen, 1):
            began = time.monotonic()
            each = (until - began) / (len(chosen) - number + 1) - OVERHEAD
            if each < LEAST:
                print(f"no time is left for {what} and the {len(chosen) - number} rounds after it")
                return is_right
            place = Path(folder) / str(number)
            place.mkdir()
            outcome = Round(what, f"{seed} {what}", each, place, certificate, trusted).run()
            is_right = is_right and not outcome.differences
            print(f"[{number}/{len(chosen)}] {what}: {_words(outcome)}, {time.monotonic() - began:.0f} s", flush=True)
            for difference in outcome.differences:
                print(f"    {difference}", flush=True)
    return is_right


def _words(outcome: Outcome) -> str:
    names = ["answers", "lost", "kills", "reloads", "disks", "descriptors", "starved"]
    names += [name for name in outcome.counts if name.startswith("worker ")]
    counts = ", ".join(f"{outcome.counts[name]} {name}" for name in names if outcome.counts[name])
    return f"{'DIFFERS' if outcome.differences else 'right'}: {counts}"


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    authority = trustme.CA()
    path = folder / "server.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    return path, trusted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__.partition("\n\n")[2])
    here = [model.name for model in TABLE.values() if not model.obstacle and not model.is_patched]
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000 % 1_000_000)
    parser.add_argument("--models", type=lambda text: text.split(","), default=here)
    parser.add_argument("--calls", type=lambda text: text.split(","), default=list(CALLS))
    args = parser.parse_args()
    print(f"chaos: --seed {args.seed} --seconds {args.seconds:g}", flush=True)
    is_right = play(combinations(args.models, args.calls, random.Random(args.seed)), args.seed, args.seconds)
    print(f"seed {args.seed}: {'all as it should be' if is_right else 'NOT all as it should be'}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())

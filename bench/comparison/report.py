"""The results: a row for each server of a workload, as the terminal and the page show it.

The rows are made of the journal's samples, so that the page can be made again without a run. Measurements that others
disturbed are left out if enough remain.
"""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from bench.support import estimates, harness
from bench.support.estimates import Ratio

BOUND = 0.9  # of a core: above it, it is the limit
ENOUGH = 3  # undisturbed rounds, from which on the others do not count

HEAD = (
    *("server", "CPU µs", "× baseline", "95 %", "rounds", "per second", "p50 ms", "p99 ms", "memory MB"),
    *("busy", "limited by", "others", "errors"),
)

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of the rounds; the ratio is the median of those to the baseline of the same round."""

    name: str
    micros: float
    ratio: Ratio
    rate: float
    rates: tuple[float, float]  # lowest and highest
    p50: float
    p99: float
    memory: float  # MB, of the tree's own
    kb_each: float  # of an idle connection, where 10,000 are held
    busy: float
    load_busy: float
    others: float
    errors: int

    @property
    def limited_by(self) -> str:
        """Return what limits requests/s: the server's core, the load's, other processes, or waiting."""
        if self.busy >= BOUND:
            return "server"
        if self.load_busy >= BOUND:
            return "load"
        return "others" if self.others >= harness.NOISE else "waiting"

    @property
    def ours(self) -> bool:
        return self.name.startswith("allcomers")

    @property
    def floor(self) -> bool:
        return self.name.startswith("floor")


def rows(figures: dict[str, Any]) -> list[Row]:
    """Return the rows of one workload: the best first, by what it shows."""
    baseline = figures["samples"].get(figures["baseline"], [])
    found = [row(name, samples, baseline) for name, samples in figures["samples"].items() if samples]
    return sorted(found, key=lambda row: -row.rate if figures["shows"] == "rate" else cost(row))


def cost(row: Row) -> float:
    """Return the ratio to the baseline, if that was measured too."""
    return row.micros if math.isnan(row.ratio.median) else row.ratio.median


def ratio(samples: list[Sample], baseline: list[Sample]) -> Ratio:
    """Return the CPU of a request as a ratio to the baseline's of the same round."""
    of_round = {sample["round"]: sample for sample in baseline}
    pairs = [(sample, of_round[sample["round"]]) for sample in samples if sample["round"] in of_round]
    calm = [pair for pair in pairs if max(sample["others"] for sample in pair) < harness.NOISE]
    used = calm if len(calm) >= ENOUGH else pairs
    return estimates.ratio([(sample["micros"], other["micros"]) for sample, other in used])


def undisturbed(samples: list[Sample]) -> list[Sample]:
    """Return the samples that others did not disturb; all, if those are few."""
    calm = [sample for sample in samples if sample["others"] < harness.NOISE]
    return calm if len(calm) >= ENOUGH else samples


def row(name: str, samples: list[Sample], baseline: list[Sample]) -> Row:
    used = undisturbed(samples)

    def median(key: str) -> float:
        values = [float(sample[key]) for sample in used if key in sample]
        return statistics.median(values) if values else math.nan

    rates = [sample["requests"] / sample["seconds"] for sample in used]
    return Row(
        name=name,
        micros=median("micros"),
        ratio=ratio(samples, baseline),
        rate=statistics.median(rates),
        rates=(min(rates), max(rates)),
        p50=median("p50"),
        p99=median("p99"),
        memory=median("memory_kib") * 1024 / 1e6,
        kb_each=median("kb_each"),
        busy=median("busy"),
        load_busy=median("load_busy"),
        others=median("others"),
        errors=sum(sample["errors"] for sample in samples),
    )


def cells(row: Row) -> list[str]:
    """Return the cells in the order of HEAD."""
    return [
        row.name,
        digits(row.micros),
        digits(row.ratio.median),
        f"{digits(row.ratio.low)}–{digits(row.ratio.high)}",
        str(row.ratio.rounds),
        f"{row.rate:,.0f}",
        digits(row.p50),
        digits(row.p99),
        digits(row.memory) + (f" ({digits(row.kb_each)} KB each)" if not math.isnan(row.kb_each) else ""),
        f"{row.busy:.0%}",
        row.limited_by,
        digits(row.others),
        str(row.errors),
    ]


def digits(value: float) -> str:
    """Format three significant digits, no exponent; a dash for an unknown figure."""
    if math.isnan(value):
        return "-"
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 2)}f}"


def show(saved: dict[str, Any]) -> None:
    """Print all workloads that have figures, as tables."""
    for figures in saved["figures"].values():
        found = rows(figures)
        if not found:
            continue
        print(f"\n{figures['title']}\n")
        harness.table(HEAD, [cells(row) for row in found])
        for line in failed(figures):
            print(f"  {line}")
    print(f"\n{LEGEND}")


def failed(figures: dict[str, Any]) -> list[str]:
    """Return a line for each server that has no figures, or fewer than others."""
    return [
        f"{name} {'failed in a round' if figures['samples'].get(name) else 'is left out'}: {reason}"
        for name, reason in figures["failed"].items()
    ]


LEGEND = (
    "CPU is that of the server's whole process tree for each request or message, its ratio to the baseline (the first\n"
    "server of the workload, mostly the floor in C) that of the same round: median and 95 % interval. The rest are\n"
    "medians. Where the load is the limit, or all wait, the rate says nothing about the server; the CPU stands\n"
    "all the same. Where `others` used 0.2 cores or more, trust no figure but the ratio, and that little."
)


def disturbances(saved: dict[str, Any]) -> list[float]:
    """Return the cores that others used during each measurement."""
    return [
        sample["others"]
        for figures in saved["figures"].values()
        for samples in figures["samples"].values()
        for sample in samples
    ]

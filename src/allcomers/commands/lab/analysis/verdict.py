"""From standings to a recommendation: which candidate to run and why, which comes next, and why not the others. Pure.

A candidate whose requests/s cannot be told from the best one's is tied with it. Of the tied that seem to be within 5 %
of it, one filter after another keeps those that are close to the best of them: the slowest responses (p99 with as many
clients as the best had), then CPU for each request. Of the rest the plainest is chosen: fewer workers, fewer threads,
the default model first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isfinite, nan
from typing import Final

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.standing import Ranked, Rung, Standing, Verdict
from allcomers.commands.lab.analysis.statistics import Course
from allcomers.commands.lab.data.candidate import POOLED, Candidate, has_loop
from allcomers.commands.lab.data.plan import Probe
from allcomers.models import TABLE, best

_NEAR: Final = 0.95
"""Of the best; a candidate that is tied only for want of precision is not preferred to another."""

_SLOWER: Final = 1.25
_DEARER: Final = 1.05
"""Multiples of the best of the tied, above which p99 and CPU for each request count against a candidate."""

_DISTURBED: Final = 0.2
"""Cores that others may use before figures suffer."""

_NEXT: Final = 3


def judge(standings: Sequence[Standing], probe: Probe, *, goal: str, others: float, cores: int) -> Verdict:
    """Judge standings as `analysis` returns them; `others`: cores that other processes used; `goal` in words."""
    order = preferred(standings)
    if not order:
        ranked = tuple(Ranked(one, _why_not(one, None, probe)) for one in standings)
        return Verdict(chosen=None, runners_up=(), others=ranked, cautions=disturbed(others))
    chosen = order[0]
    reasons = [Ranked(one, _why_not(one, chosen, probe)) for one in order[1:]]
    rest = [Ranked(one, _why_not(one, chosen, probe)) for one in standings if one not in order]
    return Verdict(
        chosen=Ranked(chosen, _why(chosen, probe, goal)),
        runners_up=tuple(reasons[:_NEXT]),
        others=(*reasons[_NEXT:], *rest),
        cautions=(*_cautions(chosen, cores), *disturbed(others)),
    )


def preferred(standings: Sequence[Standing]) -> list[Standing]:
    """Return the chosen first, then the choice without it, and so on; of those on the ladder, if there are any."""
    able = [one for one in standings if one.capacity.count and one.capacity.value > 0 and not one.failure]
    order: list[Standing] = []
    left = [one for one in able if one.stage != "screen"] or able
    while left:
        order.append(_choose(left))
        left.remove(order[-1])
    return order


def _choose(able: Sequence[Standing]) -> Standing:
    tied = [one for one in able if one.tied and one.to_best.value >= _NEAR]
    tied = tied or [max(able, key=lambda one: one.capacity.value)]
    if not any(one.limited for one in tied):  # else the load generator's queue is in every response time
        crowd = max(one.clients for one in tied)
        tied = _close(tied, lambda one: one.p99(crowd), _SLOWER)
    tied = _close(tied, lambda one: one.cpu.value, _DEARER)
    return min(tied, key=lambda one: plainness(one.candidate))


def _close(tied: Sequence[Standing], measure: Callable[[Standing], float], most: float) -> list[Standing]:
    """Return the candidates within `most` times the least; an unknown figure is infinite."""
    known = {one.candidate: value if isfinite(value := measure(one)) else inf for one in tied}
    return [one for one in tied if known[one.candidate] <= most * min(known.values())]


def plainness(candidate: Candidate) -> tuple[int, int, int]:
    """Return a sort key: less is plainer."""
    order = list(TABLE)
    place = -1 if candidate.model == best() else order.index(candidate.model)
    return candidate.workers, candidate.threads, place


# ------------------------------------------------------------ in words


def _why(chosen: Standing, probe: Probe, goal: str) -> str:
    p99 = chosen.p99(chosen.clients)
    about = "about " if chosen.limited else ""
    sentences = [
        f"It answered {about}{wording.rate(chosen.capacity.value)} with {wording.many(chosen.clients, 'client')}"
        f" (p99 {wording.seconds(p99)}, {wording.seconds(chosen.cpu.value)} of CPU a request), within {goal}."
    ]
    sentences.append(_nature(chosen.candidate, probe))
    if probe.warning:
        sentences.append(probe.warning)
    if chosen.sustained:
        sentences.append(
            f"In the open loop it kept up with {wording.rate(chosen.sustained)} and stayed within the goal."
        )
    if chosen.law and chosen.law.peak:
        sentences.append(f"Throughput falls beyond about {wording.many(chosen.law.peak, 'client')}.")
    return " ".join(sentences)


def _nature(candidate: Candidate, probe: Probe) -> str:
    """Describe the app, and what it needs of a model."""
    call = f"A lone request takes {wording.seconds(probe.response)}, {wording.seconds(probe.cpu)} of it on a core"
    if not probe.waits:
        return f"{call}: it hardly waits, so concurrent calls gain nothing on one core."
    if probe.is_async:
        return f"{call}: calls wait, and the event loop serves others meanwhile."
    at_once = probe.response / probe.cpu
    need = f"{call}: a core is busy only with some {wording.number(at_once)} calls under way at once"
    return f"{need}, and {_how_many(candidate)}."


def _how_many(candidate: Candidate) -> str:
    if candidate.threads:
        return f"{wording.many(candidate.workers * candidate.threads, 'thread')} can have them"
    if candidate.model == "thread":
        return "each client has a thread"
    if candidate.model == "process":
        return "each client has a process"
    return f"{wording.many(candidate.workers, 'worker')} can have {candidate.workers}"


def _why_not(one: Standing, chosen: Standing | None, probe: Probe) -> str:
    if one.failure:
        return f"It failed: {one.failure}."
    if not one.capacity.count or one.capacity.value <= 0:
        return f"{_missed(one)}{_cause(one.candidate, probe)}"
    if chosen is None:
        return ""
    if one.stage == "screen" and chosen.stage != "screen":
        return f"{_left_out(one, chosen)}{_cause(one.candidate, probe)}"
    if one.tied and one.to_best.value < _NEAR:
        return f"{wording.ratio(one.to_best)} of the best one's requests/s: perhaps as good, but that was not measured."
    if one.tied:
        seen = "the most, by no more than chance" if one.is_best else f"{wording.ratio(one.to_best)} of the best"
        return f"Tied on requests/s ({seen}): {_lost_tie(one, chosen)}."
    return f"{wording.ratio(one.to_best)} of the best one's requests/s.{_cause(one.candidate, probe)}"


def _left_out(one: Standing, chosen: Standing) -> str:
    """Return a sentence about a candidate that had the first look alone."""
    share = one.first / chosen.first if chosen.first else nan
    than = f", {share:.2f} of what {chosen.candidate.name} had" if isfinite(share) else ""
    longer = " There was no time for more of those so close: a longer --budget has it." if share >= _NEAR else ""
    return f"Left out after the first look: {wording.rate(one.first)} there{than}.{longer}"


def _missed(one: Standing) -> str:
    """Return a sentence about a candidate that has no capacity."""
    if not one.missed:
        return "It was not measured: it answered nothing."
    nearest = f"{wording.rate(one.rate)}, {one.missed}, with {wording.many(one.clients, 'client')}"
    if one.stage == "screen":
        return f"It missed the goal in the first look, the only one that it had: {nearest}."
    often = "met the goal in less than half of its rounds" if one.capacity.high > 0 else "never met the goal"
    return f"It {often}; nearest to it were {nearest}."


def _lost_tie(one: Standing, chosen: Standing) -> str:
    crowd = max(one.clients, chosen.clients)
    mine, theirs = one.p99(crowd), chosen.p99(crowd)
    if not (one.limited or chosen.limited) and mine > _SLOWER * theirs:
        return (
            f"its p99 is {wording.seconds(mine)}, not {wording.seconds(theirs)}, with {wording.many(crowd, 'client')}"
        )
    if one.cpu.value > _DEARER * chosen.cpu.value:
        return f"it takes {wording.seconds(one.cpu.value)} of CPU a request, not {wording.seconds(chosen.cpu.value)}"
    if plainness(one.candidate) > plainness(chosen.candidate):
        return "as good, and less plain"
    return "the other was a little better in all"


def _cause(candidate: Candidate, probe: Probe) -> str:
    """Return the cause that lies in the candidate, with a blank before; "" if there is none."""
    if candidate.model == "iterative":
        return " It serves one client at a time."
    if candidate.model == "process":
        return " It starts a process for each connection."
    waits = probe.waits and not probe.is_async
    if waits and candidate.calls == "inline" and has_loop(candidate.model):
        return f" Each call holds the loop up, and {wording.percent(probe.waiting)} of a call is waiting."
    few = candidate.workers * candidate.threads < probe.response / probe.cpu
    if waits and few and (candidate.calls in POOLED or candidate.model == "thread-pool"):
        return (
            f" {wording.many(candidate.workers * candidate.threads, 'thread')} are too few for calls that wait so long."
        )
    if not waits and (candidate.calls == "pool" or not has_loop(candidate.model)):
        return " Handing a call from thread to thread costs more than it gains here."
    return ""


def _cautions(chosen: Standing, cores: int) -> list[str]:
    sentences = []
    candidate = chosen.candidate
    if candidate.threads or candidate.model == "thread":
        sentences.append("Calls run in several threads at once: the app must be made for that.")
    if candidate.workers > 1 or candidate.model == "process":
        sentences.append("Each process has its own memory: what the app keeps in variables, others cannot read.")
    if chosen.limited:
        sentences.append(
            "The load generator reached its limit before the server did: requests/s are estimated from the CPU that the"
            " server had left, and response times have the generator's own queue in them."
        )
    if chosen.steadiness.course not in (Course.FLAT, Course.SHORT):
        sentences.append(f"At its peak it was not the same all the time: {chosen.steadiness.course.value}.")
    if cores == 1 and candidate.workers == 1 and candidate.model != "process":
        sentences.append("The server had one core here. On more, give it a worker for each: that was not measured.")
    return sentences


def disturbed(others: float) -> tuple[str, ...]:
    """Return a caution if other processes used so many cores."""
    if others < _DISTURBED:
        return ()
    return (
        f"Other processes used {wording.number(others)} of these cores meanwhile (the median over all steps): figures"
        " are lower and less sure than on a quiet machine; the order suffers less, as all had the same.",
    )


# ------------------------------------------------------------ a race

_MORE: Final = 1.1
"""Multiple of the throughput with most clients, above which a smaller crowd is mentioned."""


def race_results(standings: Sequence[Standing]) -> tuple[Ranked, ...]:
    """Return what most clients did to each candidate, in a sentence."""
    return tuple(Ranked(one, _story(one)) for one in standings)


def _story(one: Standing) -> str:
    if not one.rungs:
        return f"It failed: {one.failure}."
    peak, last = max(one.rungs, key=lambda rung: rung.tps.value), one.rungs[-1]
    sentences = [_crowded(last)]
    if peak.tps.value > _MORE * last.tps.value:
        sentences.append(
            f"At its best it gave {wording.rate(peak.tps.value)}, with {wording.many(peak.clients, 'client')}."
        )
    if one.failure:
        sentences.append(f"It failed: {one.failure}.")
    return " ".join(sentences)


def _crowded(last: Rung) -> str:
    with_all = f"With {wording.many(last.clients, 'client')}"
    if not last.tps.value:
        return f"{with_all} no answer came in time."
    held = f", of which {last.held:,.0f} were let in," if last.held < 0.98 * last.clients else ""
    lost = f"; {wording.percent(last.failing)} of requests failed" if last.failing > 0.001 else ""
    times = f"p50 {wording.seconds(last.p50)}, p99 {wording.seconds(last.p99)}"
    return f"{with_all}{held} it answered {wording.rate(last.tps.value)}: {times}{lost}."

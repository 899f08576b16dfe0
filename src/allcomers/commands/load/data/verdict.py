"""The verdict on a result: its service level objective, and the comparison with an earlier result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from allcomers.commands.load.data.comparison import Comparison
from allcomers.commands.load.data.result import Result
from allcomers.commands.load.data.slo import Term


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was asked of `result`: `terms` of --slo, a comparison of --compare. Without either it is met."""

    result: Result
    terms: tuple[Term, ...] = ()
    comparison: Comparison | None = None

    @property
    def is_asked(self) -> bool:
        return bool(self.terms) or self.comparison is not None

    @property
    def met(self) -> bool:
        return all(term.met(self.result) for term in self.terms) and (self.comparison is None or self.comparison.met)

    def as_dict(self) -> dict[str, Any]:
        """Return it in JSON's types; {} if nothing was asked."""
        found: dict[str, Any] = {}
        if self.terms:
            found["slo"] = [
                {"term": term.text, "measured": term.measured(self.result), "met": term.met(self.result)}
                for term in self.terms
            ]
        if self.comparison is not None:
            found["comparison"] = self.comparison.as_dict()
        return {"met": self.met, **found} if self.is_asked else {}

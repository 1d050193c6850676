"""Whether one version may take another's place: no worse by more than a point, by what the labels show so far."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Literal

from broker.bets import ERROR, MARGIN, Tally, blocks, is_above, is_below, labels_needed, mean
from broker.versus import Versus

Manner = Literal["paired", "apart"]
Decision = Literal["no worse", "worse", "undecided"]
POINTS: Final = 100  # of accuracy in 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be said now, why, and how many labels more are likely needed to say more (None: nobody knows)."""

    decision: Decision
    why: str
    more_labels: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much more often the second version was right, and worked at all, one entry a label or an answer."""

    manner: Manner
    right: Tally
    worked: Tally


def gathered(versus: Versus, manner: Manner | None = None) -> Evidence:
    """Return the evidence in that *manner*, or in the one that has more labels.

    Paired: of texts that both answered. Apart: each version of its own texts.
    """
    paired = Counter(float(pair.difference) for pair in versus.labelled_pairs())
    apart = blocks(versus.apart())
    if (manner or ("paired" if paired.total() >= apart.total() else "apart")) == "apart":
        return Evidence("apart", apart, versus.failures_apart())
    worked = Counter(float((pair.second.label is not None) - (pair.first.label is not None)) for pair in versus.pairs())
    return Evidence("paired", paired, worked)


def judge(evidence: Evidence) -> Verdict:
    """Decide, so that at most one in twenty versions that are worse by `MARGIN` or more is ever called no worse.

    The same holds for those that are worse by no more than that and called worse: accuracy and failures take half of
    the error each.
    """
    right, worked = evidence.right, evidence.worked
    seen = f"{_points(right)} over {_counted(evidence)}"
    if is_below(right, -MARGIN, ERROR / 2):
        return Verdict("worse", f"it is right less often by more than {MARGIN * POINTS:g} point: {seen}")
    if is_below(worked, -MARGIN, ERROR / 2):
        share = mean(worked) or 0.0
        return Verdict("worse", f"it fails on {-share * POINTS:.1f} % more of the texts")
    if is_above(right, -MARGIN) and is_above(worked, -MARGIN):
        return Verdict("no worse", f"it is not worse by {MARGIN * POINTS:g} point: {seen}")
    more = _needed(right) if not is_above(right, -MARGIN) else _needed(worked)
    return Verdict("undecided", f"{seen}, which shows neither", more)


def evidence_document(evidence: Evidence, verdict: Verdict) -> dict[str, Any]:
    """Return both as plain values."""
    return {
        "manner": evidence.manner,
        "margin": MARGIN,
        "error": ERROR,
        "decision": verdict.decision,
        "why": verdict.why,
        "more_labels": verdict.more_labels,
    }


def _needed(tally: Tally) -> int | None:
    """Return about how many more entries will decide, in the direction in which they point."""
    share = mean(tally)
    if share is not None and share < -MARGIN:
        return labels_needed({-value: count for value, count in tally.items()}, MARGIN, ERROR / 2)
    return labels_needed(tally, -MARGIN)


def _counted(evidence: Evidence) -> str:
    count = sum(evidence.right.values())
    if evidence.manner == "paired":
        return f"{count:,} labelled texts that both answered"
    return f"{count:,} labels matched with labels of the other version"


def _points(tally: Tally) -> str:
    share = mean(tally)
    return "no label" if share is None else f"{share * POINTS:+.2f} points"

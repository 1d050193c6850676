"""How good answers are: counts, shares and their interval. Plain arithmetic on pairs of labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from broker.ratios import wilson


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How one label fared; None where nothing was there to divide by."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int  # texts that truly have the label


@dataclass(frozen=True, slots=True)
class Scores:
    """How predictions compare with the truth."""

    labels: tuple[str, ...]
    count: int
    correct: int
    accuracy: float | None
    interval_95: tuple[float, float] | None
    f1_macro: float | None  # mean over the labels that have one
    per_label: dict[str, LabelScore]
    confusion: list[list[int]]  # row: true label, column: predicted label, in the order of `labels`


def score(pairs: Sequence[tuple[str, str]], labels: Sequence[str]) -> Scores:
    """Score (true, predicted) *pairs*; *labels* gives the order, and others that occur follow, sorted."""
    counts = Counter(pairs)
    order = tuple(dict.fromkeys([*labels, *sorted({label for pair in counts for label in pair})]))
    per_label = {label: _label_score(counts, label, order) for label in order}
    f1s = [each.f1 for each in per_label.values() if each.f1 is not None]
    correct = sum(counts[label, label] for label in order)
    return Scores(
        labels=order,
        count=len(pairs),
        correct=correct,
        accuracy=_share(correct, len(pairs)),
        interval_95=wilson(correct, len(pairs)) if pairs else None,
        f1_macro=_share(sum(f1s), len(f1s)),
        per_label=per_label,
        confusion=[[counts[true, predicted] for predicted in order] for true in order],
    )


def _label_score(counts: Counter[tuple[str, str]], label: str, labels: Sequence[str]) -> LabelScore:
    hits = counts[label, label]
    support = sum(counts[label, other] for other in labels)
    predicted = sum(counts[other, label] for other in labels)
    return LabelScore(
        precision=_share(hits, predicted),
        recall=_share(hits, support),
        f1=_share(2 * hits, predicted + support),
        support=support,
    )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None

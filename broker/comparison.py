"""Two versions of a model compared: everything that the table, the page and the JSON say, as plain values."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from broker.bets import blocks, bounds, mcnemar, mean
from broker.ratios import accuracy_of, quantile, wilson
from broker.verdict import Evidence, evidence_document, gathered, judge
from broker.versus import Pair, Versus

FLIPS: Final = 20  # shown; the surest first
POINTS: Final = 40  # of the picture
QUANTILES: Final = (0.5, 0.95, 0.99)


def document(model: str, versus: Versus) -> dict[str, Any]:
    """Return everything that is known of the two versions, as plain values: what the page and the JSON show."""
    evidence = gathered(versus)
    pairs = list(versus.pairs())
    agreeing = sum(not pair.differs for pair in pairs)
    lower, upper = bounds(evidence.right)
    return {
        "model": model,
        "first": versus.versions[0],
        "second": versus.versions[1],
        "versions": {version: _version(versus, place, evidence) for place, version in enumerate(versus.versions)},
        "both": len(pairs),
        "agreement": {
            "share": agreeing / len(pairs) if pairs else None,
            "interval_95": wilson(agreeing, len(pairs)) if pairs else None,
        },
        "flips": _flips(pairs),
        "labels": sum(evidence.right.values()),
        "difference": {"mean": mean(evidence.right), "lower": lower, "upper": upper},
        "mcnemar": _mcnemar(evidence),
        "over_labels": _over_labels(versus, evidence),
        "gate": evidence_document(evidence, judge(evidence)),
        "unreadable_entries": versus.unreadable,
        "cut": versus.cut,
    }


def _version(versus: Versus, place: int, evidence: Evidence) -> dict[str, Any]:
    answers = versus.answers[place].values()
    if evidence.manner == "paired":
        rights = [(pair.first, pair.second)[place].label == pair.truth for pair in versus.labelled_pairs()]
    else:
        rights = [right for is_second, right in versus.apart() if is_second == bool(place)]
    times = [answer.inference_ms for answer in answers if answer.label is not None]
    return {
        "answers": len(answers),
        "as_shadow": sum(answer.is_shadow for answer in answers),
        "failed": sum(answer.label is None for answer in answers),
        "inference_ms": {f"p{100 * share:.0f}": quantile(times, share) for share in QUANTILES},
        "accuracy": accuracy_of(sum(rights), len(rights)),
    }


def _flips(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Return where they said different things: how often which, and the texts of which both were surest, by id."""
    differing = [pair for pair in pairs if pair.differs]
    kinds = Counter((pair.first.label or "failed", pair.second.label or "failed") for pair in differing)
    surest = sorted(differing, key=lambda pair: (-min(pair.first.confidence, pair.second.confidence), pair.id))
    return {
        "count": len(differing),
        "kinds": [{"first": first, "second": second, "count": count} for (first, second), count in kinds.most_common()],
        "surest": [
            {
                "id": pair.id,
                "first": pair.first.label,
                "first_confidence": pair.first.confidence,
                "second": pair.second.label,
                "second_confidence": pair.second.confidence,
                "truth": pair.truth,
            }
            for pair in surest[:FLIPS]
        ],
    }


def _mcnemar(evidence: Evidence) -> dict[str, Any] | None:
    if evidence.manner != "paired":
        return None
    only_first, only_second = evidence.right.get(-1.0, 0), evidence.right.get(1.0, 0)
    return {"only_first": only_first, "only_second": only_second, "p": mcnemar(only_first, only_second)}


def _over_labels(versus: Versus, evidence: Evidence) -> list[dict[str, Any]]:
    """Return the difference and its bounds as the labels came, at some `POINTS` points."""
    if evidence.manner == "paired":
        steps = [Counter({float(pair.difference): 1}) for pair in versus.labelled_pairs()]
    else:
        steps = list(_steps(versus.apart()))
    rows, seen, every = [], Counter[float](), max(1, len(steps) // POINTS)
    for count, step in enumerate(steps, 1):
        seen.update(step)
        if count % every == 0 or count == len(steps):
            lower, upper = bounds(seen)
            rows.append({"labels": count, "difference": mean(seen), "lower": lower, "upper": upper})
    return rows


def _steps(arrivals: Iterable[tuple[bool, bool]]) -> Iterable[Counter[float]]:
    """Yield each block of labels as soon as it is full."""
    open_block: list[tuple[bool, bool]] = []
    for arrival in arrivals:
        open_block.append(arrival)
        if found := blocks(open_block):
            yield found
            open_block = []

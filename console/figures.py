"""What the monitor's report says of one version, as pieces of the page."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

from console import drawing, markup
from console.drawing import Point
from console.sentences import interval, of_feature, percent

Document = Mapping[str, Any]
SINCE: Final = "since"  # the window that was asked for
DIGITS: Final = 4  # of the edges of bins
UNWATCHED: Final = {
    "reference": "no reference can be read",
    "detectors": "no detectors can be built by its reference",
}


def version_panels(report: Document, version: str) -> str:
    """Return all panels of *version* over the time the report was asked for."""
    found = report["versions"].get(version)
    if not found:
        return markup.cards(markup.card("Version " + version, "", markup.nothing("The monitor has not met it.")))
    window = found["windows"].get(SINCE) or {}
    accuracy = found["accuracy"].get(SINCE) or {}
    features = window.get("features", {})
    return markup.cards(
        _accuracy(found, accuracy),
        _estimate(found, window, accuracy),
        _coverage(report, window, found),
        _histogram("Sentence length, words", features.get("words"), window),
        _histogram("Predicted labels", features.get("predicted_label"), window),
        _calibration(accuracy),
        _by_label(accuracy),
        _confusion(accuracy),
        _over_time_by_label(found),
        _drift(features, found.get("unwatched")),
    )


def _rows(found: Document) -> Sequence[Document]:
    rows: Sequence[Document] = found.get("over_time") or []
    return rows


def _ends(rows: Sequence[Document]) -> tuple[str, str]:
    return (markup.hour(rows[0]["from_ms"]), markup.hour(rows[-1]["to_ms"])) if rows else ("", "")


def _accuracy(found: Document, accuracy: Document) -> str:
    rows, target = _rows(found), found.get("target_accuracy")
    count = accuracy.get("count") or 0
    if not count:
        why = "Nobody has said yet which answers were right."
        return markup.card("Accuracy", f"target {percent(target, 0)}", markup.nothing(why))
    points = [_point(row.get("accuracy"), f"{row['labelled']} labels", row) for row in rows]
    big = f'<p class="o-big">{percent(accuracy["ratio"]["point"])}</p>'
    note = f"95 % interval {interval(accuracy['ratio'])}; {count:,} labels; dashed: target {percent(target, 0)}"
    return markup.card("Accuracy", note, big + drawing.over_time(points, target, _ends(rows), "accuracy over time"))


def _point(ratio: Document | None, of: str, row: Document) -> Point:
    when = markup.clock(row["from_ms"])
    if not ratio:
        return Point(None, None, None, when)
    said = f"{when}: {percent(ratio['point'])} ({interval(ratio)}), {of}"
    return Point(ratio["point"], ratio["lower"], ratio["upper"], said)


def _estimate(found: Document, window: Document, accuracy: Document) -> str:
    estimate, rows = window.get("estimated_accuracy"), _rows(found)
    if not estimate:
        return markup.card(
            "Estimated before labels", "", markup.nothing("No answers, or the model has no calibration.")
        )
    points = [
        Point(None, None, None, "")
        if not (one := row.get("estimated_accuracy"))
        else Point(one["ratio"], None, None, f"{markup.clock(row['from_ms'])}: {percent(one['ratio'])}")
        for row in rows
    ]
    wrong = estimate.get("error")
    beside = f"; on labelled answers it is off by {percent(wrong)}" if wrong is not None else ""
    real = accuracy.get("ratio")
    against = f" Labels say {percent(real['point'])}." if real else ""
    big = f'<p class="o-big">{percent(estimate["ratio"])}</p>'
    note = f"From {window['answered']:,} answers' confidence{beside}.{against} It cannot see that meanings changed."
    chart = drawing.over_time(points, found.get("target_accuracy"), _ends(rows), "estimated accuracy over time")
    return markup.card("Estimated before labels", note, big + chart)


def _histogram(title: str, feature: Document | None, window: Document) -> str:
    if not feature or not feature["count"]:
        return markup.card(title, "reference against now", markup.nothing("No answers in this time."))
    names = bin_names(feature)
    reference = shares(feature["reference"])
    note = f"outline: reference of {sum(feature['reference']):,} texts; filled: {window['answered']:,} answers now"
    return markup.card(title, note, drawing.pairs(reference, shares(feature["recent"]), names))


def bin_names(feature: Document) -> list[str]:
    """Return what each bin is called: a label, or its bounds."""
    if "labels" in feature:
        return [str(label) for label in feature["labels"]]
    edges = [f"{edge:.{DIGITS}g}" for edge in feature["edges"]]
    return [f"≤ {edges[0]}", *(f"{low} to {high}" for low, high in pairwise(edges)), f"> {edges[-1]}"]


def shares(numbers: Sequence[int]) -> list[float]:
    """Return *numbers* as shares of their sum; zeros where there is none."""
    total = sum(numbers)
    return [number / total if total else 0.0 for number in numbers]


def _drift(features: Mapping[str, Document], unwatched: str | None) -> str:
    rows = [
        (
            escape(of_feature(name)),
            drawing.meter(feature["psi"], feature["threshold"]),
            f"{feature['psi']:.3f}",
            f"{feature['threshold']:.3f}",
            '<b class="bad">drifts</b>' if feature["psi"] > feature["threshold"] else '<span class="soft">quiet</span>',
        )
        for name, feature in features.items()
        if feature.get("psi") is not None and feature.get("threshold") is not None
    ]
    note = "distance from the reference (PSI); the tick is what chance alone stays below"
    why = "At least 100 answers are needed before a distance means anything."
    if unwatched:
        why = f"This version is counted without drift: {UNWATCHED.get(unwatched, unwatched)}."
    heads = ("feature", "", "distance", "threshold", "")
    content = markup.table(heads, rows, (2, 3)) if rows else markup.nothing(why)
    return markup.card("Drift of each feature", note, content, markup.WIDE)


def _by_label(accuracy: Document) -> str:
    rows = [
        (
            escape(label),
            _with_bounds(one.get("precision"), one.get("precision_interval")),
            _with_bounds(one.get("recall"), one.get("recall_interval")),
            percent(one.get("f1")),
            f"{one.get('labelled', 0):,}",
        )
        for label, one in (accuracy.get("labels") or {}).items()
    ]
    heads = ("label", "precision", "recall", "F1", "labels")
    content = markup.table(heads, rows, (1, 2, 3, 4)) if rows else markup.nothing("No label has come in this time.")
    return markup.card("Precision and recall", "with 95 % intervals", content)


def _with_bounds(value: float | None, bounds: Document | None) -> str:
    small = f'<br><span class="soft">{interval(bounds)}</span>' if bounds else ""
    return f"{percent(value)}{small}"


def _confusion(accuracy: Document) -> str:
    confusion = accuracy.get("confusion") or {}
    names = sorted({*confusion, *(predicted for row in confusion.values() for predicted in row)})
    if not names:
        return markup.card("Confusion", "rows: what was right", markup.nothing("No label has come in this time."))
    rows = [(escape(true), *_confused(confusion.get(true, {}), true, names)) for true in names]
    heads = ("right was", *(f"said {name}" for name in names))
    return markup.card(
        "Confusion",
        "rows: what was right; darker: a larger share of its row",
        markup.table(heads, rows, range(1, len(heads))),
    )


def _confused(row: Mapping[str, int], true: str, names: Sequence[str]) -> Iterator[str]:
    total = sum(row.values()) or 1
    for name in names:
        count = row.get(name, 0)
        kind = "hit" if name == true else "miss"
        share = 100 * count / total
        yield f'<span class="o-cell {kind}" style="--share:{share:.0f}%">{count:,}<small>{share:.0f} %</small></span>'


def _calibration(accuracy: Document) -> str:
    points = [
        (
            one["confidence"],
            Point(
                one["accuracy"]["point"],
                one["accuracy"]["lower"],
                one["accuracy"]["upper"],
                f"confidence {percent(one['confidence'], 0)}: "
                f"right {percent(one['accuracy']['point'], 0)} of {one['count']}",
            ),
        )
        for one in accuracy.get("calibration") or []
    ]
    if not points:
        return markup.card("Calibration", "", markup.nothing("No label has come in this time."))
    error = accuracy.get("calibration_error")
    note = f"calibration error {percent(error)}; on the dashed line the model is as right as it says"
    return markup.card("Calibration", note, drawing.calibration(points))


def _over_time_by_label(found: Document) -> str:
    rows = _rows(found)
    lines = [[_plain((row.get("macro") or {}).get(what), row) for row in rows] for what in ("precision", "recall")]
    if all(point.value is None for line in lines for point in line):
        return markup.card("Precision and recall over time", "", markup.nothing("No label has come in this time."))
    plot = drawing.over_time(lines[0], None, _ends(rows), "precision and recall over time", lines[1])
    note = "mean of the labels, by the time of the answer; blue: precision, orange: recall"
    return markup.card("Precision and recall over time", note, plot)


def _plain(value: float | None, row: Document) -> Point:
    said = f"{markup.clock(row['from_ms'])}: {percent(value)} of {row['labelled']} labels"
    return Point(value, None, None, said)


def _coverage(report: Document, window: Document, found: Document) -> str:
    rows = _rows(found)
    delays = report["feedback"]["delay_seconds"]
    maturity = report["feedback"].get("maturity", {}).get(SINCE)
    answered = [(row["answered"], f"{markup.clock(row['from_ms'])}: {row['answered']:,} answers") for row in rows]
    facts = markup.table(
        ("feedback", ""),
        [
            ("answers with a label", percent(window.get("label_coverage"))),
            ("typical delay of a label", escape(_median(delays))),
            ("labels of this time that have come", percent(maturity)),
            ("answers", f"{window.get('answered', 0):,}, {window.get('errors', 0):,} errors"),
        ],
        (1,),
    )
    chart = drawing.counts(answered, _ends(rows), "answers over time") if window.get("answered") else ""
    newest = found.get("newest_answer_ms")
    note = f"newest answer at {markup.clock(newest)} UTC" if newest else "no answer yet"
    return markup.card("Answers and their labels", note, chart + facts)


def _median(delays: Document) -> str:
    counts, bounds = delays["counts"], delays["bounds"]
    total, seen = sum(counts), 0
    if not total:
        return "-"
    for count, bound in zip(counts, bounds, strict=False):
        seen += count
        if 2 * seen >= total:
            return f"at most {bound:g} s"
    return f"over {bounds[-1]:g} s"

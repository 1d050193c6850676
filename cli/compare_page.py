"""Two versions side by side as one HTML file that needs nothing from anywhere."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cli import charts
from cli.evidence import when
from cli.page import card, cards, framed, numbers
from cli.terminal import percent

Document = Mapping[str, Any]


def page(found: Document) -> str:
    """Return the whole page."""
    names = (found["first"], found["second"])
    title = f"{found['model']}: {names[0]} and {names[1]}"
    return framed(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="soft">up to {when(found["until_ms"])}, Redis time</p>',
            _decision(found["gate"]),
            "<h2>Side by side</h2>",
            _versions(found, names),
            "<h2>Right and wrong</h2>",
            _labels(found, names),
            "<h2>Where they differ</h2>",
            _flips(found, names),
        ],
    )


def _decision(gate: Document) -> str:
    kind = {"no worse": "passed", "worse": "FAILED"}.get(gate["decision"], "")
    return f'<ul class="checks"><li class="{kind}"><b>{escape(gate["decision"])}</b> {escape(gate["why"])}</li></ul>'


def _versions(found: Document, names: tuple[str, str]) -> str:
    both = [found["versions"][name] for name in names]
    rows = [
        ("answers", *(f"{one['answers']:,}" for one in both)),
        ("of these as a shadow", *(f"{one['as_shadow']:,}" for one in both)),
        ("failed", *(f"{one['failed']:,}" for one in both)),
        *(
            (f"inference a text, {key}", *(_ms(one["inference_ms"][key]) for one in both))
            for key in ("p50", "p95", "p99")
        ),
        ("labels", *(f"{one['accuracy']['labels']:,}" for one in both)),
        ("accuracy", *(percent(one["accuracy"]["accuracy"]) for one in both)),
        ("95 %, one look", *(_interval(one["accuracy"]) for one in both)),
    ]
    return f'<div class="card scroll">{_table(("", *names), rows)}</div>'


def _labels(found: Document, names: tuple[str, str]) -> str:
    rows, difference = found["over_labels"], found["difference"]
    if not rows:
        return '<p class="soft">No label has come of a text that can be compared.</p>'
    chart = charts.difference_over_labels(rows, found["gate"]["margin"])
    said = (
        f"{_points(difference['lower'])} to {_points(difference['upper'])}; each end is ever wrong for 1 in 20 at most"
    )
    drawn = card(f"Accuracy of {names[1]} less that of {names[0]}, points", f"dashed: the margin. Now {said}", chart)
    exact = found["mcnemar"]
    if not exact:
        return cards(drawn)
    cells = [
        (f"only {names[0]} right", f"{exact['only_first']:,}"),
        (f"only {names[1]} right", f"{exact['only_second']:,}"),
        ("p, two-sided", f"{exact['p']:.3g}"),
    ]
    return cards(drawn, card("McNemar's exact test", "for one look that was planned", _table(("", ""), cells)))


def _flips(found: Document, names: tuple[str, str]) -> str:
    agreement, flips = found["agreement"], found["flips"]
    if not found["both"]:
        return '<p class="soft">No text was answered by both.</p>'
    range_95 = " to ".join(map(percent, agreement["interval_95"]))
    said = f"{percent(agreement['share'])} of {found['both']:,} texts got the same answer ({range_95})"
    kinds = _table((*names, "texts"), [(one["first"], one["second"], f"{one['count']:,}") for one in flips["kinds"]])
    surest = _table(
        ("id", *names, "truth"),
        [
            (
                one["id"],
                f"{one['first'] or 'failed'} {one['first_confidence']:.3f}",
                f"{one['second'] or 'failed'} {one['second_confidence']:.3f}",
                one["truth"] or "-",
            )
            for one in flips["surest"]
        ],
    )
    return (
        f"<p>{escape(said)}</p>{cards(card('What became what', '', kinds))}"
        f'<div class="card scroll" style="margin-top:12px"><h3>Surest differences</h3>{surest}</div>'
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th class="{"n" if place else ""}">{escape(name)}</th>' for place, name in enumerate(heads))
    body = "".join(f"<tr><td>{escape(row[0])}</td>{numbers(escape(cell) for cell in row[1:])}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _interval(accuracy: Document) -> str:
    return f"{percent(accuracy['lower'])} to {percent(accuracy['upper'])}" if accuracy["labels"] else "-"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"

"""The report as one HTML file that needs nothing from anywhere."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from cli import charts
from cli.evidence import WORDS, bin_name, onset_ms, shares, when
from cli.terminal import percent

Document = Mapping[str, Any]

DRIFT_ROWS = 40  # of a version, the nearest to their thresholds
DISTANCES = {"psi": "PSI", "js": "Jensen-Shannon", "ks": "Kolmogorov-Smirnov", "wasserstein": "Wasserstein"}
_PAGE = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))


def page(document: Document) -> str:
    """Return the whole page."""
    title = f"{document['model']}: {document['outcome']}"
    ends = (when(document["since_ms"])[5:-1], when(document["until_ms"])[5:-1])
    parts = [
        f"<h1>{_e(document['model'])}</h1>",
        f'<p class="soft">{when(document["since_ms"])} to {when(document["until_ms"])}, Redis time</p>',
        _checks(document["checks"]),
        _tiles(document),
        "<h2>Over time</h2>",
        _over_time(document, ends),
        "<h2>Alarms</h2>",
        _alarms(document["alarms"]),
        *(_version(version, found, document["window"]) for version, found in document["versions"].items()),
        "<h2>Right and wrong</h2>",
        _quality(document),
    ]
    return framed(title, parts)


def framed(title: str, parts: Iterable[str]) -> str:
    """Return a page of *parts*, which are HTML already."""
    return _PAGE.substitute(title=_e(title), content="\n".join(parts))


def _checks(found: Iterable[Document]) -> str:
    rows = "".join(
        f'<li class="{check["outcome"]}"><b>{check["outcome"]}</b> {_e(check["name"])}: {_e(check["detail"])}</li>'
        for check in found
    )
    return f'<ul class="checks">{rows}</ul>'


def _tiles(document: Document) -> str:
    total, own = document["accuracy"], document["monitor"]
    answers = sum(row["answers"] for row in document["over_time"])
    errors = sum(row["errors"] for row in document["over_time"])
    interval = f"{percent(total['lower'])} to {percent(total['upper'])}, 95 %" if total["labels"] else "no label yet"
    firing = sum(alarm["state"] == "firing" for alarm in document["alarms"])
    delay = document["median_delay"]
    tiles = [
        ("accuracy", percent(total["accuracy"]), interval),
        ("answers", f"{answers:,}", f"{errors:,} errors"),
        (
            "labels",
            f"{total['labels']:,}",
            f"{percent(total['labels'] / answers if answers else None)} of the answers",
        ),
        ("median label delay", delay or "-", "from prediction to label, all time"),
        ("alarms on", str(firing), f"{len(document['alarms']) - firing} ended"),
        ("monitor", _seconds(own.get("lag_seconds")), "behind the log"),
    ]
    cards = "".join(
        f'<div class="card"><span class="soft">{name}</span><b>{_e(value)}</b>'
        f'<span class="soft">{_e(note)}</span></div>'
        for name, value, note in tiles
    )
    return f'<div class="tiles">{cards}</div>'


def _over_time(document: Document, ends: tuple[str, str]) -> str:
    rows, targets = document["over_time"], [found.get("target_accuracy") for found in document["versions"].values()]
    target = targets[-1] if targets else None
    line = f"dashed: target {percent(target)}" if target is not None else "no target is known"
    return cards(
        card(
            "Accuracy by the time of the prediction",
            f"bars: 95 % interval; {line}",
            charts.accuracy_over_time(rows, target, ends),
        ),
        card("Answers", "errors in red", charts.counts_over_time(rows, ends)),
    )


def _alarms(alarms: Sequence[Document]) -> str:
    if not alarms:
        return '<p class="soft">None was on in this time.</p>'
    return cards(*(_alarm(alarm) for alarm in alarms))


def _alarm(alarm: Document) -> str:
    ended = alarm.get("ended_ms")
    times = f"{when(alarm['at_ms'])} to {when(ended)}" if ended else f"on since {when(alarm['at_ms'])}"
    evidence = alarm["evidence"]
    onset = onset_ms(evidence)
    began = f", began about {when(onset)}" if onset else ""
    samples = "".join(f"<br><code>{_e(sample)}</code>" for sample in evidence.get("sample_ids", [])[-3:])
    before, now = evidence.get("reference"), evidence.get("current")
    picture = ""
    if before and now and len(before) == len(now):
        names = [bin_name(place, len(now), evidence.get("edges"), evidence.get("labels")) for place in range(len(now))]
        picture = charts.histogram(shares(before), shares(now), names)
    return (
        f'<div class="card alarm{" over" if ended else ""}"><h3>{_e(_word(alarm["feature"]))}: '
        f"{'ended' if ended else 'FIRING'} ({_e(alarm['severity'])})</h3><p>{_e(alarm['summary'])}</p>"
        f'<p class="soft">{_e(alarm["detector"])} {alarm["statistic"]:.4g}, begins at {alarm["threshold"]:.4g}; '
        f"version {_e(alarm['version'])}; {times}{began}{samples}<br>what to do: "
        f"<code>{_e(alarm['runbook'])}</code></p>{picture}</div>"
    )


def _version(version: str, found: Document, window: str) -> str:
    features = found.get("windows", {}).get(window, {}).get("features", {})
    rows = [
        (f"{_word(name)}, {DISTANCES.get(method, method)} ({window})", distance["score"], distance["threshold"])
        for name, one in features.items()
        for method, distance in one["scores"].items()
    ]
    rows += [
        (f"{_word(one['feature'])}, level ({one['method']})", one["score"], one["threshold"])
        for one in found.get("sequential", [])
    ]
    table = "".join(
        f'<tr><td>{_e(name)}</td><td style="width:40%">{charts.meter(score, threshold)}</td>'
        f'<td class="n">{score:.3g}</td><td class="n">{threshold:.3g}</td></tr>'
        for name, score, threshold in sorted(rows, key=lambda row: -row[1] / row[2])[:DRIFT_ROWS]
    )
    heads = '<tr><th>feature</th><th></th><th class="n">score</th><th class="n">threshold</th></tr>'
    drift = (
        f'<div class="card scroll"><table>{heads}{table}</table></div>'
        if table
        else '<p class="soft">No reference, or too few answers to compare with it.</p>'
    )
    if len(rows) > DRIFT_ROWS:
        drift += f'<p class="soft">The {DRIFT_ROWS} nearest to their thresholds of {len(rows)}; the JSON has all.</p>'
    key = '<p class="soft"><i class="key" style="background:var(--before)"></i>reference'
    key += f'<i class="key" style="background:var(--now)"></i>last {window}</p>'
    return "\n".join(
        [
            f"<h2>Version {_e(version)}: drift</h2>",
            _estimate(found, window),
            drift,
            key,
            cards(*(_histogram(*one) for one in features.items())),
        ]
    )


def _estimate(found: Document, window: str) -> str:
    """Say what the monitor expects without labels, where it does, and how wrong that was of the labelled answers."""
    estimate = found.get("windows", {}).get(window, {}).get("estimated_accuracy")
    if not estimate:
        return ""
    error = estimate.get("error")
    wrong = f"; on the labelled answers it is off by {percent(error)}" if error is not None else ""
    note = f"Accuracy estimated without labels: {percent(estimate['ratio'])}{wrong}. It assumes that texts still mean"
    return f'<p class="soft">{note} what they did.</p>'


def _histogram(name: str, found: Document) -> str:
    count, compared = len(found["recent"]), sum(found["reference"])
    reference = found["reference"] if compared else [0] * count
    names = [bin_name(place, count, found.get("edges"), found.get("labels")) for place in range(count)]
    chart = charts.histogram(shares(reference), shares(found["recent"]), names)
    return card(_word(name), f"{found['count']:,} answers{'' if compared else '; no reference'}", chart)


def _quality(document: Document) -> str:
    if not document["accuracy"]["labels"]:
        return '<p class="soft">No label of a prediction of this time has come yet.</p>'
    names = list(document["confusion"])
    heads = "".join(f'<th class="n">{_e(name)}</th>' for name in names)
    body = "".join(
        f"<tr><td>{_e(true)}</td>{numbers(f'{row[name]:,}' for name in names)}</tr>"
        for true, row in document["confusion"].items()
    )
    slices = "".join(f"<tr><td>{_e(row['slice'])}</td>{numbers(_slice(row))}</tr>" for row in document["worst_slices"])
    worst = (
        '<table><tr><th>tag</th><th class="n">labels</th><th class="n">accuracy</th><th class="n">95 %</th></tr>'
        f"{slices}</table>"
        if slices
        else "<p>No tag has enough labels.</p>"
    )
    return cards(
        card("Calibration", "on the dashed line, confidence is accuracy", charts.calibration(document["calibration"])),
        card(
            "Confusion", "rows: true label", f'<div class="scroll"><table><tr><th></th>{heads}</tr>{body}</table></div>'
        ),
        card("Worst slices", "by the requests' tags, last day", f'<div class="scroll">{worst}</div>'),
    )


def _slice(row: Document) -> tuple[str, ...]:
    return (f"{row['labels']:,}", percent(row["accuracy"]), f"{percent(row['lower'])} to {percent(row['upper'])}")


def numbers(cells: Iterable[str]) -> str:
    """Return cells of a table's row, aligned to the right."""
    return "".join(f'<td class="n">{cell}</td>' for cell in cells)


def cards(*found: str) -> str:
    """Return cards side by side."""
    return f'<div class="cards">{"".join(found)}</div>'


def card(title: str, note: str, content: str) -> str:
    """Return one card; *content* is HTML already."""
    return f'<div class="card"><h3>{_e(title)}</h3><p class="soft">{_e(note)}</p>{content}</div>'


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _word(feature: str) -> str:
    return WORDS.get(feature, feature)


def _e(text: str) -> str:
    return escape(text)

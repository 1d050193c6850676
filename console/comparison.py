"""Two versions side by side: what they answered, where they differ, who is right, and what the gate says."""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from console import drawing, markup
from console.sentences import percent

NO_WORSE, WORSE = "no worse", "worse"
MOST_KINDS: Final = 6
MOST_FLIPS: Final = 5
TITLE: Final = "Compared, answer by answer"

Document = Mapping[str, Any]


def nobody(model: str) -> str:
    """Return what stands where nothing is tried and nothing was chosen."""
    how = f"Nothing is tried beside the live version. Begin: just shadow {model} VERSION; or choose two versions above."
    return markup.card(TITLE, "", markup.nothing(how), markup.WIDE)


def picture(found: Document) -> str:
    """Return the comparison; where one of the two answered nothing, that there is no data yet."""
    names = found["first"], found["second"]
    both = [found["versions"][name] for name in names]
    silent = [name for name, one in zip(names, both, strict=True) if not one["answers"]]
    note = f"{names[0]} and {names[1]}, {_span(found)}"
    if silent:
        why = f"The log holds no answer of {' nor of '.join(silent)} in this time."
        return markup.card(TITLE, note, markup.nothing(why), markup.WIDE)
    plots = markup.cards(_agreement(found), _difference(found))
    return markup.card(TITLE, note, _verdict(found) + _table(found, both) + plots, markup.WIDE)


def _span(found: Document) -> str:
    cut = "; there is more than is read at once, the newest is missing" if found["cut"] else ""
    since = f"since {markup.day_and_clock(found['since_ms'])} UTC" if found["since_ms"] else "all that is kept"
    return f"{since}, as of {markup.clock(found['until_ms'])}{cut}"


def _verdict(found: Document) -> str:
    gate, (first, second) = found["gate"], (found["first"], found["second"])
    if gate["decision"] == NO_WORSE:
        return markup.notice(f"Version {second} may take the place of {first}: {gate['why']}.", "good")
    if gate["decision"] == WORSE:
        return markup.notice(f"Version {second} must not take the place of {first}: {gate['why']}.")
    if not found["labels"]:
        said = "No label says yet which of the two is right more often."
    else:
        said = f"It is not clear yet whether {second} may take the place of {first}: {gate['why']}."
    more = gate["more_labels"]
    likely = f" About {more:,} more labels are likely needed." if more else " More labels of this kind will not decide."
    return markup.notice(said + likely, "plain")


def _table(found: Document, both: list[Document]) -> str:
    judged = "of the same texts" if found["mcnemar"] else "each of its own texts"
    rows = [
        ("answers", *(f"{one['answers']:,}" for one in both)),
        ("of these as a shadow", *(f"{one['as_shadow']:,}" for one in both)),
        ("failed", *(f"{one['failed']:,}" for one in both)),
        *((f"inference a text, {key}", *(_ms(one["inference_ms"][key]) for one in both)) for key in ("p50", "p95")),
        (f"accuracy, {judged}", *(_accuracy(one["accuracy"]) for one in both)),
    ]
    return markup.table(("", *(f"version {found[place]}" for place in ("first", "second"))), rows, (1, 2))


def _accuracy(accuracy: Document) -> str:
    if not accuracy["labels"]:
        return '<span class="soft">no label yet</span>'
    bounds = f"{percent(accuracy['lower'])} to {percent(accuracy['upper'])}, {accuracy['labels']:,} labels"
    return f'{percent(accuracy["accuracy"])}<br><span class="soft">{bounds}</span>'


def _agreement(found: Document) -> str:
    """Say how often both said the same, and what became what."""
    share, flips = found["agreement"]["share"], found["flips"]
    if share is None:
        return markup.card("Agreement", "", markup.nothing("No text was answered by both."))
    lower, upper = found["agreement"]["interval_95"]
    bounds = f"{percent(lower)} to {percent(upper)}, of {found['both']:,} texts that both answered"
    content = f'<p><b>{percent(share)}</b> <span class="soft">{bounds}</span></p>'
    kinds = [(escape(one["first"]), escape(one["second"]), f"{one['count']:,}") for one in flips["kinds"][:MOST_KINDS]]
    if kinds:
        heads = (f"{found['first']} says", f"{found['second']} says", "times")
        content += markup.table(heads, kinds, (2,))
    return markup.card("Agreement", "", content + _surest(found))


def _surest(found: Document) -> str:
    rows = [
        (
            markup.code(one["id"]),
            _said(one["first"], one["first_confidence"]),
            _said(one["second"], one["second_confidence"]),
            escape(one["truth"] or "-"),
        )
        for one in found["flips"]["surest"][:MOST_FLIPS]
    ]
    if not rows:
        return ""
    listed = markup.table(("prediction", f"{found['first']}", f"{found['second']}", "truth"), rows)
    return f"<details><summary>where both were surest and differ</summary>{listed}</details>"


def _said(label: str | None, confidence: float) -> str:
    return f"{escape(label)} {confidence:.2f}" if label else "failed"


def _difference(found: Document) -> str:
    """Draw the difference of the accuracies as the labels came, and say how sure one may be of it."""
    rows, difference, second = found["over_labels"], found["difference"], found["second"]
    note = f"points by which {second} is right more often; dashed: as much worse as it may be"
    if not rows:
        return markup.card("Difference in accuracy", note, markup.nothing("No label of both has come."))
    drawn = [
        drawing.Point(
            row["difference"],
            row["lower"],
            row["upper"],
            f"{row['labels']:,} labels: {points(row['difference'])}, {points(row['lower'])} to {points(row['upper'])}",
        )
        for row in rows
    ]
    margin = found["gate"]["margin"]
    plot = drawing.difference(drawn, margin, ("first label", f"{rows[-1]['labels']:,}"), "difference of the accuracies")
    bounds = f"{points(difference['lower'])} to {points(difference['upper'])}, however often one looks"
    said = f'<p><b>{points(difference["mean"])}</b> <span class="soft">{bounds}</span></p>'
    return markup.card("Difference in accuracy", note, plot + said + _mcnemar(found))


def _mcnemar(found: Document) -> str:
    test = found["mcnemar"]
    if not test:
        return '<p class="soft">On other texts each, so no McNemar test; the interval allows for that.</p>'
    rights = f"only {found['first']} right {test['only_first']:,}, only {found['second']} right {test['only_second']:,}"
    return f'<p class="soft">{escape(rights)}. McNemar, exact: p = {test["p"]:.3g}, for one planned look.</p>'


def points(value: float | None) -> str:
    """Return a difference of accuracies in points."""
    return "-" if value is None else f"{100 * value:+.2f} points"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"

"""The tab that shows which versions there are, what they are worth, and where else to look."""

import time
from html import escape
from typing import Any, Final

import gradio as gr

from console import comparison, markup
from console.calls import Calls, Document, TroubleError
from console.parts import QUIET, Choice
from console.sentences import interval, percent

MEASURED: Final = ("accuracy", "f1_macro", "test_count")
PROBED_S: Final = 30.0
SPANS: Final = {"1 hour": "1h", "1 day": "24h", "all that is kept": ""}
LIVE, TRIED = "live", "what is tried"


def build(calls: Calls, choice: Choice) -> None:
    """Put the tab together."""
    versions = gr.HTML(markup.card("Versions", "", markup.nothing("Asking the gateway.")), elem_id="versions")
    with gr.Row():
        first = gr.Dropdown([LIVE], value=LIVE, label="Compare", elem_id="first", min_width=130)
        second = gr.Dropdown([TRIED], value=TRIED, label="With", elem_id="second", min_width=130)
        span = gr.Dropdown(list(SPANS), value="1 day", label="Time", elem_id="compared-span", min_width=130)
    compared = gr.HTML("", elem_id="compared")
    measured = gr.HTML("", elem_id="measured")  # apart: what a person unfolded there stays so
    links = gr.HTML("", elem_id="links")
    gr.on(choice.looks, _versions(calls), choice.model, [versions, measured], **QUIET)
    chosen = [choice.model, first, second, span]
    gr.on([*choice.looks, *(one.change for one in chosen[1:])], _comparison(calls), chosen, compared, **QUIET)
    gr.on(choice.looks, _choices(calls), chosen[:3], [first, second], **QUIET)
    gr.on(choice.looks, _links(calls), None, links, **QUIET)


def build_grafana(url: str) -> None:
    """Put the tab of the configured dashboard together."""
    frame = f'<iframe src="{escape(url)}" title="Grafana" loading="lazy" referrerpolicy="no-referrer"></iframe>'
    link = f'<a class="o-link" href="{escape(url)}" rel="noopener noreferrer" target="_blank">Open Grafana</a>'
    gr.HTML(f"<p>{link}</p>{frame}")


def _versions(calls: Calls) -> Any:
    async def versions(model: str) -> tuple[str, str]:
        try:
            known = await calls.models()
        except TroubleError as trouble:
            return markup.notice(str(trouble), "warn"), ""
        try:
            report = (await calls.reports()).get(model, {})
        except TroubleError:
            report = {}
        found = next((one for one in known if one["name"] == model), None)
        nobody = markup.notice("No worker has ever announced this model.", "warn")
        return _page(found, report) if found else (nobody, "")

    return versions


def _choices(calls: Calls) -> Any:
    async def choices(model: str, first: str, second: str) -> tuple[Any, Any]:
        """Offer the versions that the monitor has met; what is chosen stays."""
        try:
            known = await calls.versions(model)
        except TroubleError:
            return gr.skip(), gr.skip()
        return (
            gr.update(choices=[LIVE, *known], value=first if first in known else LIVE),
            gr.update(choices=[TRIED, *known], value=second if second in known else TRIED),
        )

    return choices


def _comparison(calls: Calls) -> Any:
    async def compared(model: str, first: str, second: str, span: str) -> str:
        """Show two versions side by side; which, the pointer says as long as nobody chose."""
        try:
            wanted = (await calls.reports()).get(model, {}).get("wanted") or {}
            one = wanted.get("version", "") if first == LIVE else first
            other = _tried(wanted) if second == TRIED else second
            if not one or not other or one == other:
                return comparison.nobody(model)
            return comparison.picture(await calls.compare(model, one, other, SPANS.get(span, "24h")))
        except TroubleError as trouble:
            return markup.notice(str(trouble), "warn")

    return compared


def _tried(wanted: Document) -> str:
    """Return the canary, or else the first shadow; "" where there is neither."""
    canary = wanted.get("canary") or {}
    return str(canary.get("version") or next(iter(wanted.get("shadows") or {}), ""))


def _page(found: Document, report: Document) -> tuple[str, str]:
    state = "serving" if found["available"] else "nobody serves it now"
    note = f"{state}; {found['workers']} workers, about {found['texts_per_second']:.0f} texts a second together"
    rows = [_row(found, report, version) for version in found["versions"]]
    heads = ("version", "part", "accuracy, test", "F1, test", "target", "accuracy, 1 h", "labels, 1 h", "answers, 24 h")
    content = markup.table(heads, rows, range(2, 8)) if rows else markup.nothing("No worker has a version loaded.")
    measured = [_measured(version) for version in found["versions"]]
    versions = markup.card(found["name"], note, content, markup.WIDE)
    return markup.cards(versions, _compared(found, report)), "".join(measured)


def _row(found: Document, report: Document, version: Document) -> tuple[str, ...]:
    name, metrics = version["version"], version.get("metrics", {})
    seen = report.get("versions", {}).get(name) or report.get("shadows", {}).get(name) or {}
    accuracy = (seen.get("accuracy") or {}).get("1h") or {}
    ratio, answered = accuracy.get("ratio"), (seen.get("windows", {}).get("24h") or {}).get("answered")
    bounds = f'<br><span class="soft">{interval(ratio)}</span>' if ratio else ""
    return (
        f"<b>{escape(name)}</b>",
        escape(_part(found, report.get("wanted") or {}, name)),
        percent(metrics.get("accuracy")),
        percent(metrics.get("f1_macro")),
        percent(version.get("target_accuracy"), 0),
        percent(ratio["point"] if ratio else None) + bounds,
        f"{accuracy.get('count') or 0:,}",
        "-" if answered is None else f"{answered:,}",
    )


def _part(found: Document, wanted: Document, version: str) -> str:
    """Say which part a version plays: it answers, it is tried on a share, or it only listens."""
    parts = ["live"] if version == found["live"] else []
    canary = wanted.get("canary") or {}
    if canary.get("version") == version:
        parts.append(f"canary, {percent(canary.get('share'), 0)}")
    if version in (wanted.get("shadows") or {}):
        parts.append(f"shadow, {percent(wanted['shadows'][version], 0)}")
    if version == wanted.get("previous"):
        parts.append("live before")
    return ", ".join(parts) or "loaded"


def _compared(found: Document, report: Document) -> str:
    """Show what a canary or a shadow answered beside the live version, over the last hour."""
    wanted, versions = report.get("wanted") or {}, {**report.get("shadows", {}), **report.get("versions", {})}
    others = [(wanted.get("canary") or {}).get("version"), *(wanted.get("shadows") or {})]
    named = [name for name in (found["live"], *others) if name in versions]
    if len(named) < 2:  # noqa: PLR2004 - there is nothing beside it
        return ""
    rows = []
    for name in named:
        window = versions[name]["windows"].get("1h") or {}
        estimate = window.get("estimated_accuracy")
        rows.append(
            (
                f"<b>{escape(name)}</b> {escape(_part(found, wanted, name))}",
                f"{window.get('answered', 0):,}",
                escape(_mix(window.get("features", {}).get("predicted_label"))),
                percent(estimate["ratio"] if estimate else None),
            )
        )
    heads = ("version", "answers, 1 h", "answered", "estimated accuracy")
    note = '<p class="soft">Answer by answer: below. Panel by panel: Monitor, Beside it.</p>'
    table = markup.table(heads, rows, (1, 3))
    return markup.card("Beside the live version", "the last hour", table + note, markup.WIDE)


def _mix(feature: Document | None) -> str:
    if not feature or not sum(feature["recent"]):
        return "-"
    total = sum(feature["recent"])
    pairs = zip(feature["labels"], feature["recent"], strict=True)
    return ", ".join(f"{label} {percent(count / total, 0)}" for label, count in pairs)


def _measured(version: Document) -> str:
    rest = {name: value for name, value in version.get("metrics", {}).items() if name not in MEASURED}
    rows = [(escape(name.replace("_", " ")), f"{value:.4g}") for name, value in sorted(rest.items())]
    if not rows:
        return ""
    labels = ", ".join(version["labels"])
    known = f"labels: {labels}; reads {version['max_length']:,} tokens; digest {version['digest'][:16]}"
    facts = f'<p class="soft">{escape(known)}</p>{markup.table(("measure", ""), rows, (1,))}'
    name = escape(version["version"])
    unfolded = f"<details><summary>what was measured when it was made</summary>{facts}</details>"
    return markup.card(f"Version {name}", "", unfolded)


def _links(calls: Calls) -> Any:
    settings = calls.settings
    places = {
        "Gateway's reference": f"{settings.admin_url}/docs",
        "Monitor's metrics": f"{settings.console_monitor_url}/metrics",
        "MLflow": settings.console_mlflow_url,
        "Prometheus": settings.console_prometheus_url,
        "Grafana": settings.console_grafana_url or "http://127.0.0.1:3000",
    }
    seen: dict[str, tuple[float, bool]] = {}

    async def answers(url: str) -> bool:
        asked_at, found = seen.get(url, (float("-inf"), False))
        if time.monotonic() - asked_at > PROBED_S:
            found = await calls.answers(url)
            seen[url] = (time.monotonic(), found)
        return found

    async def links() -> str:
        there = {name: settings.published(url) for name, url in places.items() if await answers(url)}
        away = [name for name in places if name not in there]
        items = "".join(
            f'<li><a class="o-link" href="{escape(url)}" target="_blank" rel="noreferrer">{escape(name)}</a></li>'
            for name, url in there.items()
        )
        note = f"not running: {', '.join(away)}" if away else ""
        return markup.card("Elsewhere", note, f"<ul>{items}</ul>" if items else markup.nothing("Nothing else runs."))

    return links

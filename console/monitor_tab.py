"""The tab that shows whether the model is still right: panels of one version, or of two side by side."""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

import gradio as gr

from console import banner, figures, markup
from console.calls import Calls, Document, TroubleError
from console.parts import QUIET, Choice
from console.sentences import ago

RANGES: Final = {"5 minutes": "5m", "1 hour": "59m", "6 hours": "6h", "1 day": "24h", "2 days": "48h"}
LIVE: Final = "live"
NONE: Final = "none"


def build(calls: Calls, choice: Choice) -> None:
    """Put the tab together."""
    with gr.Row():
        span = gr.Dropdown(list(RANGES), value="1 hour", label="Time", elem_id="span", min_width=130)
        version = gr.Dropdown([LIVE], value=LIVE, label="Version", elem_id="watched", min_width=130)
        beside = gr.Dropdown([NONE], value=NONE, label="Beside it", elem_id="beside", min_width=130)
    age = gr.HTML("", elem_id="age")
    panels = gr.HTML(markup.card("Monitor", "", markup.nothing("Asking the monitor.")), elem_id="panels")
    alarms = gr.HTML("", elem_id="alarms")  # apart: what a person unfolded there stays so until an alarm comes or goes
    wanted = [choice.model, span, version, beside]
    gr.on([*choice.looks, *(one.change for one in wanted[1:])], _panels(calls), wanted, [age, panels, alarms], **QUIET)
    gr.on(choice.looks, _versions(calls), [choice.model, version, beside], [version, beside], **QUIET)


def _versions(calls: Calls) -> Any:
    async def versions(model: str, version: str, beside: str) -> tuple[Any, Any]:
        """Offer the versions that the monitor has met; what is chosen stays."""
        try:
            known = await calls.versions(model)
        except TroubleError:
            return gr.skip(), gr.skip()
        return (
            gr.update(choices=[LIVE, *known], value=version if version in {LIVE, *known} else LIVE),
            gr.update(choices=[NONE, *known], value=beside if beside in {NONE, *known} else NONE),
        )

    return versions


def _panels(calls: Calls) -> Any:
    async def panels(model: str, span: str, version: str, beside: str) -> tuple[str, str, str]:
        """Return the panels; without the monitor, that it cannot be asked."""
        try:
            report = await calls.report(model, RANGES.get(span, "59m"))
        except TroubleError as trouble:
            said = "The monitor has not met this model yet." if trouble.code == "model_unknown" else str(trouble)
            return "", markup.notice(said, "warn"), ""
        age = f'<p class="soft">{escape(_age(report))}</p>'
        return age, page(report, version, beside), markup.cards(banner.alerts(report))

    return panels


def page(report: Document, version: str, beside: str) -> str:
    """Return the panels of one version, or of two."""
    report = with_shadows(report)
    chosen = (
        (report.get("wanted") or {}).get("version") or next(iter(report["versions"]), "")
        if version == LIVE
        else version
    )
    if not chosen:
        return markup.card("Monitor", "", markup.nothing("No version has answered anything."))
    panels = figures.version_panels(report, chosen)
    if beside not in {NONE, chosen, ""}:
        panels = (
            f'<div class="o-beside"><div><h2>Version {escape(chosen)}</h2>{panels}</div>'
            f"<div><h2>Version {escape(beside)}</h2>{figures.version_panels(report, beside)}</div></div>"
        )
    return panels


def with_shadows(report: Mapping[str, Any]) -> Document:
    """Return *report* with its shadow versions among the others: they have answers, and never labels."""
    bare: Document = {"target_accuracy": None, "accuracy": {}, "labels": []}
    shadows = {version: {**bare, **found} for version, found in report.get("shadows", {}).items()}
    return {**report, "versions": {**shadows, **report["versions"]}}


def _age(report: Document) -> str:
    seconds = report.get("newest_entry_age_seconds")
    newest = f"newest answer {ago(seconds)}" if seconds is not None else "no answer yet"
    behind = report["monitor"].get("lag_seconds") or 0.0
    return f"As of {markup.clock(report['now_ms'])} UTC · {newest} · the monitor is {behind:.1f} s behind the log"

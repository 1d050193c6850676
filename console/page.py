"""The whole page: what stands above the tabs, and the tabs."""

from pathlib import Path
from typing import Any, Final

import gradio as gr

from console import file_tab, models_tab, monitor_tab, predict_tab, streams_tab
from console.banner import banner
from console.calls import Calls, TroubleError
from console.downloads import Downloads
from console.parts import QUIET, Choice

TITLE: Final = "Observa"
CSS: Final = Path(__file__).with_name("style.css")
SYSTEM: Final = [gr.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "sans-serif")]
TYPED: Final = [gr.themes.Font(name) for name in ("ui-monospace", "DejaVu Sans Mono", "monospace")]


def theme() -> gr.themes.Base:
    """Return the one quiet theme; its fonts are the machine's own."""
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="gray",
        radius_size="sm",
        text_size="md",
        font=SYSTEM,
        font_mono=TYPED,
    )


def build(calls: Calls, downloads: Downloads) -> gr.Blocks:
    """Return the page."""
    settings = calls.settings
    page: gr.Blocks
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(300, 300)) as page:
        clock = gr.Timer(settings.console_refresh_s)
        with gr.Row(elem_classes="o-head", equal_height=True):
            gr.HTML('<h1>Observa</h1><p class="soft">an answer now, a record, an alarm</p>', elem_classes="o-title")
            model = gr.Dropdown([], label="Model", elem_id="model", min_width=160, scale=0, allow_custom_value=True)
        line = gr.HTML(_asking(), elem_id="banner")
        choice = Choice(model, clock)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Predict", id="predict"):
                predict_tab.build(calls, choice)
            with gr.Tab("File", id="file"):
                file_tab.build(calls, choice, downloads)
            with gr.Tab("Monitor", id="monitor"):
                monitor_tab.build(calls, choice)
            with gr.Tab("Streams", id="streams"):
                streams_tab.build(calls, choice)
            with gr.Tab("Models", id="models"):
                models_tab.build(calls, choice)
            if settings.console_grafana_url:
                with gr.Tab("Grafana", id="grafana"):
                    models_tab.build_grafana(settings.console_grafana_url)
        looking = _look(calls)
        for event in (page.load, clock.tick):
            event(looking, model, [line, model], **QUIET)
    page.queue(api_open=False, default_concurrency_limit=16, max_size=256, status_update_rate=1)
    return page


def _asking() -> str:
    return '<div class="o-banner" role="status">Asking the gateway and the monitor.</div>'


def _look(calls: Calls) -> Any:
    async def look(chosen: str | None) -> tuple[str, Any]:
        """Say what is wrong or that nothing is, and offer the models there are."""
        reports, monitor_trouble, gateway_trouble, names = None, None, None, []
        try:
            reports = await calls.reports()
        except TroubleError as trouble:
            monitor_trouble = str(trouble)
        try:
            names = [one["name"] for one in await calls.models()]
        except TroubleError as trouble:
            gateway_trouble = str(trouble)
        if not names:
            return banner(reports, monitor_trouble, gateway_trouble), gr.skip()
        return banner(reports, monitor_trouble, gateway_trouble), gr.update(
            choices=names, value=chosen if chosen in names else names[0]
        )

    return look

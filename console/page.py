"""The whole page: what stands above the tabs, and the tabs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import gradio as gr

from console import file_tab, models_tab, monitor_tab, predict_tab, streams_tab
from console.banner import banner
from console.calls import Calls, TroubleError
from console.downloads import Downloads
from console.login import LOGOUT
from console.parts import QUIET, Choice

TITLE: Final = "Observa"
CSS: Final = Path(__file__).with_name("style.css")
SYSTEM: Final = [gr.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "sans-serif")]
TYPED: Final = [gr.themes.Font(name) for name in ("ui-monospace", "DejaVu Sans Mono", "monospace")]


def theme() -> gr.themes.Base:
    """Return the one quiet theme; its fonts are the machine's own."""
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="zinc",
        radius_size="sm",
        text_size="md",
        font=SYSTEM,
        font_mono=TYPED,
    )


def build_page(calls: Calls, downloads: Downloads) -> gr.Blocks:
    """Return the page."""
    settings = calls.settings
    page: gr.Blocks
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(300, 300)) as page:
        clock = gr.Timer(settings.console_refresh_s)
        with gr.Row(elem_classes="o-head"):
            gr.HTML(
                '<h1>Observa</h1><p class="soft">an answer now, a record of it, an alarm</p>', elem_classes="o-title"
            )
            if settings.oidc_issuer:
                gr.HTML(
                    f'<a class="o-link" id="logout" href="{settings.prefix}{LOGOUT}">Log out</a>',
                    elem_classes="o-logout",
                )
            model = gr.Dropdown([], label="Model", elem_id="model", min_width=180, scale=0, allow_custom_value=True)
        line = gr.HTML(_asking(), elem_id="banner")
        builders = _tabs(calls, downloads)
        clocks = [gr.Timer(settings.console_refresh_s, active=False) for _ in builders]
        with gr.Tabs(elem_id="tabs"):
            tabs = [_tab(name, model, clock, build) for (name, build), clock in zip(builders, clocks, strict=True)]
            if settings.console_grafana_url:
                with gr.Tab("Grafana"):
                    models_tab.build_grafana(settings.published(settings.console_grafana_url))
        for at, tab in enumerate(tabs):
            tab.select(partial(_wake, at, len(tabs)), None, clocks, **QUIET)
        looking = _look(calls)
        for event in (page.load, clock.tick):
            event(looking, model, [line, model], **QUIET)
    page.queue(api_open=False, default_concurrency_limit=16, max_size=256, status_update_rate=1)
    return page


def _tabs(calls: Calls, downloads: Downloads) -> list[tuple[str, Callable[[Choice], None]]]:
    return [
        ("Predict", partial(predict_tab.build, calls)),
        ("File", partial(file_tab.build, calls, downloads)),
        ("Monitor", partial(monitor_tab.build, calls)),
        ("Streams", partial(streams_tab.build, calls)),
        ("Models", partial(models_tab.build, calls)),
    ]


def _tab(name: str, model: gr.Dropdown, clock: gr.Timer, build: Callable[[Choice], None]) -> gr.Tab:
    tab: gr.Tab
    with gr.Tab(name) as tab:
        build(Choice(model, clock, tab))
    return tab


def _wake(opened: int, tabs: int) -> list[gr.Timer]:
    """Let only the open tab look again and again."""
    return [gr.Timer(active=at == opened) for at in range(tabs)]


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

"""The rows as a Grafana dashboard, through Grafana's own typed builders."""

import itertools
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.panels import Panel
from deploy.grafana.quality_rows import INPUTS, MONITOR, PREDICTIONS, QUALITY
from deploy.grafana.service_rows import STATUS, TRAFFIC

SOURCE: Final = "observa-prometheus"  # the data source's uid, fixed in provisioning/datasources
ROWS: Final = {
    "Status": STATUS,
    "Traffic": TRAFFIC,
    "Inputs": INPUTS,
    "Predictions": PREDICTIONS,
    "Quality": QUALITY,
    "The monitor itself": MONITOR,
}
_REF: Final = models.DataSourceRef(type_val="prometheus", uid=SOURCE)
_HEIGHT: Final = {"stat": 4, "series": 8, "table": 8, "heatmap": 8}


def observa() -> models.Dashboard:
    """Return the dashboard."""
    page = (
        dashboard.Dashboard("Observa")
        .uid("observa")
        .tags(["observa"])
        .editable()
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(_model())
    )
    ids = itertools.count(1)
    for title, panels in ROWS.items():
        page.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            page.with_panel(_panel(panel).id(next(ids)))
    return page.build()


def _model() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("model")
        .label("Model")
        .datasource(_REF)
        .query("label_values(observa_monitor_lag_seconds, model)")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)  # noqa: FBT003 - the builder's own style
        .include_all(True)  # noqa: FBT003
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _panel(panel: Panel) -> Any:
    make: dict[str, Any] = {
        "stat": stat.Panel,
        "series": timeseries.Panel,
        "table": table.Panel,
        "heatmap": heatmap.Panel,
    }
    built = (
        make[panel.kind]()
        .title(panel.title)
        .description(panel.description)
        .datasource(_REF)
        .unit(panel.unit)
        .span(panel.width)
        .height(_HEIGHT[panel.kind])
        .min(0)
    )
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        built.with_target(_target(panel, letter, query.expression, query.legend))
    if panel.most is not None:
        built.max(panel.most)
    if panel.kind == "series":
        built.fill_opacity(8).legend(_legend())
    if panel.kind == "heatmap":
        built.y_axis(heatmap.YAxisConfig().unit(panel.unit))
    return _with_limits(built, panel)


def _target(panel: Panel, letter: str, expression: str, legend: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(letter).datasource(_REF).expr(expression).legend_format(legend)
    if panel.kind == "heatmap":
        return target.range().format(PromQueryFormat.HEATMAP)
    if panel.kind == "table":
        return target.instant().format(PromQueryFormat.TABLE)
    return target.instant() if panel.kind == "stat" else target.range()


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)  # noqa: FBT003
    )


def _with_limits(built: Any, panel: Panel) -> Any:
    limit = panel.bad_above if panel.bad_above is not None else panel.bad_below
    if limit is None:
        return built
    below, above = ("green", "red") if panel.bad_above is not None else ("red", "green")
    steps = [models.Threshold(color=below), models.Threshold(value=limit, color=above)]
    built.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.kind == "series":
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.LINE))
    return built

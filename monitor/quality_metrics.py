"""Metrics of what was estimated, of macro scores, of maturity and of slices."""

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric

VERSION: Final = ["model", "version"]
WINDOW: Final = [*VERSION, "window"]


def extended(reports: list[dict[str, Any]]) -> Iterator[Metric]:
    """Yield the families for *reports*, one a model; what is not known has no sample."""
    yield from _estimated(reports)
    yield from _macro(reports)
    yield from _slices(reports)
    coming = GaugeMetricFamily(
        "observa_label_maturity_ratio", "Share of a window's labels that have come.", labels=["model", "window"]
    )
    for report in reports:
        for window, share in report["feedback"]["maturity"].items():
            _add(coming, [report["model"], window], share)
    yield coming


def _estimated(reports: list[dict[str, Any]]) -> Iterator[Metric]:
    ratio = GaugeMetricFamily(
        "observa_estimated_accuracy_ratio", "Accuracy expected without labels, if only the texts change.", labels=WINDOW
    )
    error = GaugeMetricFamily(
        "observa_estimated_accuracy_error_ratio", "Distance of the estimate from the labels that came.", labels=WINDOW
    )
    shares = GaugeMetricFamily(
        "observa_answers_ratio", "Share of the answers of a window, by kind.", labels=[*WINDOW, "kind"]
    )
    for model, version, values in _versions(reports):
        for window, found in values["windows"].items():
            estimate = found.get("estimated_accuracy") or {}
            _add(ratio, [model, version, window], estimate.get("ratio"))
            _add(error, [model, version, window], estimate.get("error"))
            answered = found.get("answered", 0)
            for kind in ("errors", "abstained", "truncated"):
                whole = answered + found.get("errors", 0)
                _add(shares, [model, version, window, kind], found[kind] / whole if whole else None)
    yield from (ratio, error, shares)


def _macro(reports: list[dict[str, Any]]) -> Iterator[Metric]:
    families = {
        name: GaugeMetricFamily(f"observa_{name}_macro_ratio", f"Mean {name} of the labels.", labels=WINDOW)
        for name in ("precision", "recall", "f1")
    }
    for model, version, values in _versions(reports):
        for window, found in values["accuracy"].items():
            for name, family in families.items():
                _add(family, [model, version, window], found["macro"][name])
    yield from families.values()


def _slices(reports: list[dict[str, Any]]) -> Iterator[Metric]:
    """Yield the slices of the last day."""
    slice_of = [*VERSION, "slice"]
    answers = GaugeMetricFamily("observa_slice_answers", "Answers of a slice, by kind.", labels=[*slice_of, "kind"])
    ratio = GaugeMetricFamily(
        "observa_slice_accuracy_ratio", "Share of right answers of a slice, 95 % bounds.", labels=[*slice_of, "bound"]
    )
    for model, version, values in _versions(reports):
        for name, found in values["slices"].items():
            for kind in ("answered", "errors", "abstained", "truncated", "labelled"):
                _add(answers, [model, version, name, kind], found.get(kind))
            for bound, value in (found.get("accuracy") or {}).items():
                _add(ratio, [model, version, name, bound], value)
    yield from (answers, ratio)


def _versions(reports: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for report in reports:
        for version, values in report["versions"].items():
            yield report["model"], version, values


def _add(family: GaugeMetricFamily, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)

"""The reports as Prometheus metrics; a value that is not known is left out, never reported as zero."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from monitor.quality_metrics import extended
from monitor.watch import FAMILIES

DETECTORS: Final = {
    **dict.fromkeys(("e-sr", "wilson", "adwin"), ("accuracy",)),
    "estimate": ("estimated_accuracy",),
}
VERSION: Final = ("model", "version")
WINDOW: Final = (*VERSION, "window")
DRIFT: Final = (*VERSION, "feature", "method", "window")

Report = dict[str, Any]


class Reports(Collector):
    """Turns the report of every model, as it is now, into metric families."""

    def __init__(self, monitor: "Monitored") -> None:
        self._monitor = monitor

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: names are known only once there are models."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family once, with the samples of all models."""
        reports = self._monitor.reports()
        yield from _results(reports)
        yield from _drift(reports)
        yield from _accuracy(reports)
        yield from _labels(reports)
        yield from extended(reports)
        yield from _alarms(reports)
        yield from _feedback(reports)
        yield from _itself(reports)
        yield from _fleet(reports)


class Monitored:
    """What the collector asks for; see `monitor.monitor.Monitor`."""

    def reports(self) -> list[Report]:
        """Return the report of every model, with its ``"monitor"`` part."""
        raise NotImplementedError


def registry(monitor: Monitored) -> CollectorRegistry:
    """Return a registry of the reports and of this process."""
    found = CollectorRegistry()
    ProcessCollector(registry=found)
    found.register(Reports(monitor))
    return found


def _versions(reports: list[Report]) -> Iterator[tuple[str, str, Report]]:
    for report in reports:
        for version, values in report["versions"].items():
            yield report["model"], version, values


def _results(reports: list[Report]) -> Iterator[Metric]:
    labels = ["model", "version", "role", "label", "status"]
    results = CounterMetricFamily(
        "observa_monitored_results", "Predictions and errors read from the log.", labels=labels
    )
    coverage = _gauge("observa_label_coverage_ratio", "Labelled share of the answers of a window.", WINDOW)
    for model, version, values in _versions(reports):
        for key, count in values["totals"].items():
            role, status, label = key.split("|", 2)
            results.add_metric([model, version, role, label, status], count)
        for window, found in values["windows"].items():
            _add(coverage, [model, version, window], found.get("label_coverage"))
    for report in reports:
        for version, shadow in report["shadows"].items():
            for key, count in shadow["totals"].items():
                role, status, label = key.split("|", 2)
                results.add_metric([report["model"], version, role, label, status], count)
    yield from (results, coverage)


def _drift(reports: list[Report]) -> Iterator[Metric]:
    score = _gauge("observa_drift_score", "Distance from the reference; no sample below the minimum of entries.", DRIFT)
    limit = _gauge("observa_drift_threshold", "What the score stays below while traffic is like the reference.", DRIFT)
    watched = _gauge("observa_drift_watched", "0 while a version is counted without drift; see its report.", VERSION)
    for model, version, values in _versions(reports):
        watched.add_metric([model, version], not values["unwatched"])
        for window, found in values["windows"].items():
            for feature, drift in found.get("features", {}).items():
                for method, values_of in drift["scores"].items():
                    _add(score, [model, version, feature, method, window], values_of["score"])
                    _add(limit, [model, version, feature, method, window], values_of["threshold"])
        for found in values["sequential"]:
            where = [model, version, found["feature"], found["method"], "stream"]
            _add(score, where, found["score"])
            _add(limit, where, found["threshold"])
    yield from (score, limit, watched)


def _accuracy(reports: list[Report]) -> Iterator[Metric]:
    ratio = _gauge("observa_accuracy_ratio", "Share of right answers, 95 % Wilson bounds.", (*WINDOW, "bound"))
    samples = _gauge("observa_accuracy_samples", "Labelled predictions of a window.", WINDOW)
    target = _gauge("observa_accuracy_target_ratio", "Accuracy below which an alarm begins.", VERSION)
    error = _gauge("observa_calibration_error_ratio", "Mean distance of confidence and accuracy.", WINDOW)
    for model, version, values in _versions(reports):
        _add(target, [model, version], values["target_accuracy"])
        for window, found in values["accuracy"].items():
            samples.add_metric([model, version, window], found["count"])
            _add(error, [model, version, window], found["calibration_error"])
            for bound, value in (found["ratio"] or {}).items():
                ratio.add_metric([model, version, window, bound], value)
    yield from (ratio, samples, target, error)


def _labels(reports: list[Report]) -> Iterator[Metric]:
    names = {"precision": "Precision", "recall": "Recall", "f1": "F1 score"}
    families = {
        name: _gauge(f"observa_{name}_ratio", f"{text} of a label.", (*WINDOW, "label")) for name, text in names.items()
    }
    for model, version, values in _versions(reports):
        for window, found in values["accuracy"].items():
            for label, scores in found["labels"].items():
                for name, family in families.items():
                    _add(family, [model, version, window, label], scores[name])
    yield from families.values()


def _alarms(reports: list[Report]) -> Iterator[Metric]:
    active = _gauge("observa_alarm_active", "1 while the alarm of any version is on.", ("model", "detector", "feature"))
    for report in reports:
        on = {(alarm["detector"], alarm["feature"]) for alarm in report["alarms"]}
        known = {(detector, feature) for detector, features in DETECTORS.items() for feature in features}
        for values in report["versions"].values():
            for found in values["sequential"]:
                methods = FAMILIES if found["method"] in FAMILIES else (found["method"],)
                known |= {(method, found["feature"]) for method in methods}
            known |= {("e-sr", f"accuracy/{name}") for name in values["slices"] if name != "other"}
        for detector, feature in sorted(known | on):
            active.add_metric([report["model"], detector, feature], (detector, feature) in on)
    yield active


def _feedback(reports: list[Report]) -> Iterator[Metric]:
    outcomes = CounterMetricFamily("observa_feedback", "Labels read from the log.", labels=["model", "outcome"])
    delay = HistogramMetricFamily("observa_feedback_delay_seconds", "From a prediction to its label.", labels=["model"])
    for report in reports:
        for outcome, count in report["feedback"]["outcomes"].items():
            outcomes.add_metric([report["model"], outcome], count)
        found, total = report["feedback"]["delay_seconds"], 0
        buckets = []
        for bound, count in zip([*found["bounds"], float("inf")], found["counts"], strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(total)))
        delay.add_metric([report["model"]], buckets, found["sum"])
    yield from (outcomes, delay)


def _itself(reports: list[Report]) -> Iterator[Metric]:
    group = ("model", "stream", "group")
    lag = _gauge("observa_stream_lag_entries", "Entries a group has not been given yet.", group)
    pending = _gauge("observa_stream_pending_entries", "Entries given to a group and not finished.", group)
    oldest = _gauge("observa_stream_oldest_seconds", "Age of the oldest entry that is not finished.", group)
    gaps = CounterMetricFamily("observa_log_gap_entries", "Entries trimmed before a group read them.", labels=group)
    unread = CounterMetricFamily(
        "observa_unreadable_entries", "Entries the monitor cannot read.", labels=["model", "stream", "reason"]
    )
    behind = _gauge("observa_monitor_lag_seconds", "Since the monitor last knew all of the log.", ("model",))
    age = _gauge("observa_snapshot_age_seconds", "Since the snapshot was last current.", ("model",))
    failed = CounterMetricFamily(
        "observa_measurement_failures",
        "Measurements that failed; the old value stays.",
        labels=["model", "measurement"],
    )
    for report in reports:
        model, own = report["model"], report["monitor"]
        for key, found in own["groups"].items():
            _add(lag, [model, *key.split("/", 1)], found["lag"])
            _add(pending, [model, *key.split("/", 1)], found["pending"])
            _add(oldest, [model, *key.split("/", 1)], found["oldest_seconds"])
        for key, count in own["gaps"].items():
            gaps.add_metric([model, *key.split("/", 1)], count)
        for stream, found in report["streams"].items():
            gaps.add_metric([model, stream, "monitor"], found["gap_entries"])
            for reason, count in found["unreadable"].items():
                unread.add_metric([model, stream, reason], count)
        for measurement, count in own["failures"].items():
            failed.add_metric([model, measurement], count)
        _add(behind, [model], own["lag_seconds"])
        _add(age, [model], own["snapshot_age_seconds"])
    yield from (lag, pending, oldest, gaps, unread, behind, age, failed)


def _fleet(reports: list[Report]) -> Iterator[Metric]:
    added = CounterMetricFamily(
        "observa_stream_entries_added", "Entries ever put on a stream.", labels=["model", "stream"]
    )
    workers = _gauge("observa_workers", "Workers that say that they serve the model.", ("model",))
    speed = _gauge("observa_announced_texts_per_second", "What these workers together say they can do.", ("model",))
    for report in reports:
        model, own = report["model"], report["monitor"]
        if own["requests"] is not None:
            added.add_metric([model, "requests"], own["requests"])
        if own["fleet"] is not None:
            workers.add_metric([model], own["fleet"]["workers"])
            speed.add_metric([model], own["fleet"]["texts_per_second"])
    yield from (added, workers, speed)


def _gauge(name: str, text: str, labels: Iterable[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=list(labels))


def _add(family: GaugeMetricFamily, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)

"""Which alarms are active, and what is written when one begins or ends."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from broker.events import Alert
from broker.streams import entry_time_ms
from monitor.runbooks import runbook

ONSET: Final = "onset_ms"  # in the evidence: when what began the alarm most likely began, Unix ms


class Decided(NamedTuple):
    """An alert and the place in the stream of the entry that decided it."""

    order: tuple[int, int]
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a detector saw when it changed its mind."""

    detector: str
    feature: str
    severity: Literal["page", "ticket"]
    statistic: float
    threshold: float
    summary: str
    evidence: dict[str, Any]


@dataclass(slots=True)
class Alarms:
    """The active alarms of one version; alert ids depend on the stream alone, so a replay writes the same ones."""

    version: str
    active: dict[str, Alert] = field(default_factory=dict)  # "detector feature" to the alert that began it

    def begin(self, finding: Finding, entry_id: str) -> list[Decided]:
        """Begin an alarm, decided by entry *entry_id*; nothing if it is active."""
        key = f"{finding.detector} {finding.feature}"
        if key in self.active:
            return []
        alert = Alert(
            alert_id=f"{self.version}:{finding.detector}:{finding.feature}:{entry_id}",
            state="firing",
            detector=finding.detector,
            feature=finding.feature,
            severity=finding.severity,
            version=self.version,
            statistic=finding.statistic,
            threshold=finding.threshold,
            summary=finding.summary,
            evidence={**finding.evidence, "runbook": runbook(finding.detector, finding.feature)},
            at_ms=entry_time_ms(entry_id),
        )
        self.active[key] = alert
        return [Decided(_order(entry_id), alert)]

    def end(self, detector: str, feature: str, statistic: float, summary: str, entry_id: str) -> list[Decided]:
        """End an alarm under the id it began with; nothing if it is not active."""
        alert = self.active.pop(f"{detector} {feature}", None)
        if alert is None:
            return []
        end = {"state": "resolved", "statistic": statistic, "summary": summary, "at_ms": entry_time_ms(entry_id)}
        evidence = {"version": self.version, "began_ms": alert.at_ms}
        return [Decided(_order(entry_id), alert.model_copy(update={**end, "evidence": evidence}))]

    def end_all(self, summary: str, entry_id: str) -> list[Decided]:
        """End every alarm, because its version is no longer watched."""
        began = list(self.active.values())
        return [end for a in began for end in self.end(a.detector, a.feature, a.statistic, summary, entry_id)]

    def dump(self) -> list[dict[str, Any]]:
        """Return the active alarms for the snapshot."""
        return [alert.model_dump() for _, alert in sorted(self.active.items())]

    def load(self, alerts: Iterable[dict[str, Any]]) -> None:
        """Take the active alarms back from the snapshot."""
        for values in alerts:
            alert = Alert.model_validate(values)
            self.active[f"{alert.detector} {alert.feature}"] = alert


def at_target(target: float, right: int, count: int) -> dict[str, Any]:
    """Return, as evidence, right and wrong answers among *count* beside those there would be at *target*."""
    expected = round(target * count)
    return {
        "labels": ["right", "wrong"],
        "reference": [expected, count - expected],
        "current": [right, count - right],
    }


def in_order(decided: list[Decided]) -> list[Alert]:
    """Return the alerts in the order of the entries that decided them."""
    decided.sort(key=lambda d: (d.order, d.alert.version, d.alert.detector, d.alert.feature, d.alert.state))
    return [alert for _, alert in decided]


def _order(entry_id: str) -> tuple[int, int]:
    time_ms, _, sequence = entry_id.partition("-")
    return int(time_ms), int(sequence)

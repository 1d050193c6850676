"""What watches one version's predictions for drift: shape, level and ranks of each feature. In stream order."""

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.alarms import ONSET, Alarms, Decided, Finding
from monitor.detectors import HOLD
from monitor.drift import Counts
from monitor.embedding_watch import EmbeddingWatch
from monitor.estimate import Estimate, EstimateWatch
from monitor.feature_watch import Bins, FeatureWatch, Times
from monitor.profiles import EMBEDDING, LABEL, Profile
from monitor.settings import Rules
from monitor.shape import Tested

SAMPLES: Final = 5  # ids kept as evidence
FAMILIES: Final = ("psi", "cusum", "e-sr")  # detectors of each feature, with equal shares of the false alarms


class DriftWatch:
    """Per feature PSI on blocks, CUSUMs and rank bets, and one scan of the embedding, which open tickets.

    Several with the estimate open a page. Each begins falsely once in the run length of the rules, or once in
    `false_alarm_days` for all together if at the traffic seen that is rarer; entries that repeat each other, and hours
    of the day before that differed, ease what they compare with.
    """

    def __init__(self, profile: Profile, rules: Rules) -> None:
        self.alarms = Alarms(profile.version)
        self.watched = [FeatureWatch(f, i, rules) for i, f in enumerate(profile.features) if f.judged]
        self.embedding: EmbeddingWatch | None = None
        if profile.embedding is not None:
            names = [feature.name for feature in profile.features]
            columns = np.array([names.index(feature.name) for feature in profile.embedding.features], dtype=np.int64)
            self.embedding = EmbeddingWatch(profile.embedding, columns, rules)
        self.estimate = EstimateWatch(profile.target, self.alarms)
        self.multiple = 1.0
        self._sums = (0, 0)  # expected and spread of the block, millionths
        self._in_block = 0
        self._since_ms = 0  # of the block
        self._recent: deque[str] = deque(maxlen=SAMPLES)
        self._rules = rules
        self._estimates = profile.calibration is not None
        self._labels = list(profile.labels)

    @property
    def detectors(self) -> int:
        """How many share the false alarms."""
        return len(FAMILIES) * len(self.watched) + (self.embedding is not None)

    def at_pace(self, entries_a_day: int, versions: int) -> None:
        """Set the run lengths for this much traffic, shared by so many versions."""
        wanted = entries_a_day * self._rules.false_alarm_days * self.detectors * versions
        self.at_multiple(max(1.0, wanted / self._rules.drift_run_length))

    def at_multiple(self, multiple: float) -> None:
        """Run *multiple* times as many entries between false alarms as the rules say."""
        self.multiple = multiple
        for watched in self.watched:
            watched.at_multiple(multiple)
        for embedding in self._embeddings:
            embedding.at_multiple(multiple)

    def at_day(self, hours: list[list[Counts]]) -> None:
        """Allow for what the *hours* of a day differed by, each a histogram of every feature."""
        for watched in self.watched:
            watched.at_day([hour[watched.column] for hour in hours])
        for embedding in self._embeddings:
            embedding.at_day([[hour[column] for column in embedding.columns.tolist()] for hour in hours])

    @property
    def _embeddings(self) -> tuple[EmbeddingWatch, ...]:
        return () if self.embedding is None else (self.embedding,)

    def feed(
        self, bins: Bins, expected: NDArray[np.int64], times: Times, entry_ids: list[str], ids: list[str]
    ) -> list[Decided]:
        """Take answered rows in order: bins, (expected, spread) in millionths, times, entry ids and prediction ids."""
        decided: list[Decided] = []
        if not self.watched and self.embedding is None:
            return decided
        start = 0
        while start < len(bins):
            # No alarm can begin again within so few entries: when it began is known at their end.
            # A block that was begun under a setting of longer ones ends with its next entry.
            left = max(self._rules.drift_block - self._in_block, 1)
            stop = min(start + left, start + HOLD, len(bins))
            part = slice(start, stop)
            decided += self._feed(bins[part], expected[part], times[part], entry_ids[part], ids[part])
            start = stop
        return decided

    def _feed(
        self, bins: Bins, expected: NDArray[np.int64], times: Times, entry_ids: list[str], ids: list[str]
    ) -> list[Decided]:
        """Take rows of one block."""
        decided: list[Decided] = []
        self._since_ms = self._since_ms if self._in_block else int(times[0])
        before, ids = len(self._recent), [*self._recent, *ids]
        for watched in self.watched:
            column = bins[:, watched.column]
            rows = np.flatnonzero(column >= 0)
            said, at_ms = column[rows], times[rows]
            for detector, changes in (
                ("cusum", watched.cusum_changes(said, at_ms)),
                ("e-sr", watched.rank_changes(said, at_ms)),
            ):
                for at, began, onset_ms in changes:
                    row = int(rows[at])
                    evidence = watched.evidence_of(detector, said[: at + 1]) | {ONSET: onset_ms} if began else {}
                    evidence["sample_ids"] = ids[max(0, before + row + 1 - SAMPLES) : before + row + 1]
                    decided += self._changed(watched.feature.name, detector, began, entry_ids[row], evidence)
            watched.count(said)
        for embedding in self._embeddings:
            coordinates = bins[:, embedding.columns]
            rows = np.flatnonzero((coordinates >= 0).all(axis=1))
            said = coordinates[rows]
            for at, began, onset_ms in embedding.changes(said, times[rows]):
                row = int(rows[at])
                evidence = embedding.evidence_of(said[: at + 1]) | {ONSET: onset_ms} if began else {}
                evidence["sample_ids"] = ids[max(0, before + row + 1 - SAMPLES) : before + row + 1]
                decided += self._changed(EMBEDDING, "scan", began, entry_ids[row], evidence)
            embedding.count(said)
        self._recent.extend(ids[before:])
        right, spread = expected.sum(axis=0).tolist()
        self._sums = (self._sums[0] + right, self._sums[1] + spread)
        self._in_block += len(bins)
        if self._in_block >= self._rules.drift_block:
            decided += self._end_block(entry_ids[-1], list(self._recent))
        return decided

    def _changed(
        self,
        name: str,
        detector: str,
        began: bool,  # noqa: FBT001
        entry_id: str,
        evidence: dict[str, Any],
    ) -> list[Decided]:
        if not began:
            return self.alarms.end(detector, name, 0.0, f"{name} is at its reference again", entry_id)
        threshold, evidence = evidence["threshold"], evidence | self._named(name)
        del evidence["threshold"]
        return self.alarms.begin(
            _ticket(detector, name, threshold, threshold, evidence.pop("summary"), evidence), entry_id
        )

    def _end_block(self, entry_id: str, samples: list[str]) -> list[Decided]:
        """Test the full block and begin the next one."""
        alpha = self._rules.drift_block / (self._rules.drift_run_length * self.multiple)
        decided: list[Decided] = []
        for watched in self.watched:
            was, tested = watched.shape.active, watched.end_block(alpha, self._since_ms)
            if tested and watched.shape.active != was:
                decided += self._shape(watched, tested, entry_id, samples)
        for embedding in self._embeddings:
            embedding.end_block()
        if self._estimates:
            found = Estimate.of(self._in_block, *self._sums)
            decided += self.estimate.block(self._in_block, found, entry_id, samples)
        self._sums, self._in_block = (0, 0), 0
        return decided

    def _named(self, feature: str) -> dict[str, list[str]]:
        """Return the names of the bins of the predicted label; those of numbers have edges."""
        return {"labels": self._labels} if feature == LABEL else {}

    def _shape(self, watched: FeatureWatch, tested: Tested, entry_id: str, samples: list[str]) -> list[Decided]:
        name, (score, threshold, counts, since_ms) = watched.feature.name, tested
        if not watched.shape.active:
            return self.alarms.end("psi", name, score, f"{name} is distributed like the reference again", entry_id)
        summary = f"{name} is distributed unlike the reference (PSI {score:.3f}, chance alone {threshold:.3f})"
        evidence = {
            "window": f"{int(counts.sum())} entries",
            "n": int(counts.sum()),
            ONSET: since_ms,
            "reference": watched.feature.coarse_counts.tolist(),
            "current": counts.tolist(),
            **watched.feature.bins(coarse=True),
            **self._named(name),
            "sample_ids": samples,
        }
        return self.alarms.begin(_ticket("psi", name, score, threshold, summary, evidence), entry_id)

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "features": [watched.dump() for watched in self.watched],
            "embedding": self.embedding.dump() if self.embedding else None,
            "estimate": self.estimate.dump(),
            "multiple": self.multiple,
            "sums": self._sums,
            "in_block": self._in_block,
            "since_ms": self._since_ms,
            "recent": list(self._recent),
            "alarms": self.alarms.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        for watched, dumped in zip(self.watched, state["features"], strict=True):
            watched.load(dumped)
        if self.embedding:
            self.embedding.load(state["embedding"])
        self.estimate.load(state["estimate"])
        self.at_multiple(state["multiple"])
        self._sums, self._in_block = (state["sums"][0], state["sums"][1]), state["in_block"]
        self._since_ms = state["since_ms"]
        self._recent.extend(state["recent"])
        self.alarms.load(state["alarms"])


def _ticket(  # noqa: PLR0913, PLR0917 the parts of one finding
    detector: str, feature: str, statistic: float, threshold: float, summary: str, evidence: dict[str, Any]
) -> Finding:
    return Finding(
        detector=detector,
        feature=feature,
        severity="ticket",
        statistic=statistic,
        threshold=threshold,
        summary=summary,
        evidence=evidence,
    )

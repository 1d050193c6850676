"""What the log says of one model since a point in time: answers and their labels."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.asyncio import Redis

from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import EVALUATION, Feedback, Result
from broker.ratios import accuracy_of
from broker.streams import PredictionId, Tag, entry_time_ms
from cli.reading import Entry, oldest

PAGE = 1000
MOST = 500_000  # entries read of one stream
STEPS = 24  # points of a picture over time
BINS = 10  # of confidence


class Labelled(NamedTuple):
    """A prediction and its newest true label."""

    made_ms: int
    version: str
    label: str
    predicted: str
    confidence: float

    @property
    def right(self) -> bool:
        """Whether the prediction was the label."""
        return self.label == self.predicted


@dataclass(slots=True)
class History:
    """Counts of live answers between two Redis times; labels by the time of their prediction."""

    since_ms: int
    until_ms: int
    answers: list[int] = field(default_factory=lambda: [0] * STEPS)
    errors: list[int] = field(default_factory=lambda: [0] * STEPS)
    labels: dict[str, Labelled] = field(default_factory=dict)  # by prediction id
    unreadable: int = 0
    cut: bool = False  # there were more than `MOST` entries; the newest are missing

    def step(self, at_ms: int) -> int | None:
        """Return which part of the time *at_ms* falls into."""
        if not self.since_ms <= at_ms <= self.until_ms:
            return None
        return min((at_ms - self.since_ms) * STEPS // max(self.until_ms - self.since_ms, 1), STEPS - 1)

    def add_results(self, entries: Iterable[Entry]) -> None:
        """Count answers and errors that live traffic got."""
        for entry_id, fields in entries:
            try:
                result = Result.from_fields(fields)
            except (MalformedEntryError, NewerSchemaError):
                self.unreadable += 1
                continue
            at = self.step(entry_time_ms(entry_id))
            if at is None or result.role == "shadow" or EVALUATION in result.tags:
                continue
            (self.answers if result.status == "ok" else self.errors)[at] += 1

    def add_feedback(self, entries: Iterable[Entry]) -> None:
        """Take labels; the newest label of a prediction counts."""
        for _, fields in entries:
            try:
                label = Feedback.from_fields(fields)
                made_ms = PredictionId.parse(label.id).time_ms if label.made_ms is None else label.made_ms
            except (MalformedEntryError, NewerSchemaError, ValueError):
                self.unreadable += 1
                continue
            if EVALUATION in label.tags or self.step(made_ms) is None:
                continue
            self.labels[label.id] = Labelled(made_ms, label.version, label.label, label.predicted, label.confidence)

    def over_time(self) -> list[dict[str, Any]]:
        """Return answers, errors and accuracy with its 95 % interval, one row a step."""
        count, right = [0] * STEPS, [0] * STEPS
        for one in self.labels.values():
            at = self.step(one.made_ms) or 0
            count[at] += 1
            right[at] += one.right
        length = (self.until_ms - self.since_ms) / STEPS
        return [
            {
                "from_ms": round(self.since_ms + at * length),
                "answers": self.answers[at],
                "errors": self.errors[at],
                **accuracy_of(right[at], count[at]),
            }
            for at in range(STEPS)
        ]

    def by_version(self) -> dict[str, dict[str, Any]]:
        """Return the accuracy of each version that got labels."""
        found: dict[str, Counter[bool]] = {}
        for one in self.labels.values():
            found.setdefault(one.version, Counter())[one.right] += 1
        return {version: accuracy_of(of[True], of.total()) for version, of in sorted(found.items())}

    def confusion(self) -> dict[str, dict[str, int]]:
        """Return true label to predicted label to count."""
        cells = Counter((one.label, one.predicted) for one in self.labels.values())
        names = sorted({name for cell in cells for name in cell})
        return {true: {predicted: cells[true, predicted] for predicted in names} for true in names}

    def calibration(self) -> list[dict[str, Any]]:
        """Return mean confidence and accuracy by confidence, empty bins left out."""
        bins: list[list[Labelled]] = [[] for _ in range(BINS)]
        for one in self.labels.values():
            bins[min(int(one.confidence * BINS), BINS - 1)].append(one)
        return [
            {
                "confidence": sum(one.confidence for one in part) / len(part),
                **accuracy_of(sum(one.right for one in part), len(part)),
            }
            for part in bins
            if part
        ]


async def read_history(redis: Redis, tags: list[Tag], since_ms: int, until_ms: int) -> History:
    """Read results and feedback of every shard from *since_ms* to *until_ms*, Redis time."""
    history = History(since_ms, until_ms)
    for tag in tags:
        for stream, add in ((tag.results, history.add_results), (tag.feedback, history.add_feedback)):
            start, seen = str(since_ms), 0
            while page := await oldest(redis, stream, start, count=PAGE):
                add(page)
                seen += len(page)
                start = f"({page[-1][0]}"
                if seen >= MOST:
                    history.cut = True
                    break
    return history

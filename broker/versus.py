"""What the log says of two versions of one model: what each answered, where both did, and what was right."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from broker.bets import blocks
from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import EVALUATION, Feedback, Result
from broker.streams import Tag, entry_time_ms

MOST: Final = 1_000_000  # entries read of one stream
PAGE: Final = 1000
ITS_FAULT: Final = frozenset({"inference_failed", "too_many_tokens"})  # the other errors are nobody's or the caller's

Entry = tuple[str, dict[bytes, bytes]]  # entry id, fields


class Answer(NamedTuple):
    """What one version said of one text."""

    label: str | None  # None: it failed
    confidence: float
    inference_ms: float  # its share of the batch
    at_ms: int  # Redis time
    is_shadow: bool


class Pair(NamedTuple):
    """What both said of one text, and the truth where it is known."""

    id: str
    first: Answer
    second: Answer
    truth: str | None

    @property
    def differs(self) -> bool:
        """Whether they said different things."""
        return self.first.label != self.second.label

    @property
    def difference(self) -> int:
        """Whether only the second was right (1) or only the first (-1)."""
        return (self.second.label == self.truth) - (self.first.label == self.truth)


@dataclass(slots=True)
class Versus:
    """Answers of *versions* in the order in which they came, and labels in the order in which their first came."""

    versions: tuple[str, str]
    answers: tuple[dict[str, Answer], dict[str, Answer]] = field(default_factory=lambda: ({}, {}))  # by id
    labels: dict[str, str] = field(default_factory=dict)
    positions: dict[str, str] = field(default_factory=dict)  # stream to where reading goes on
    evaluations: int = 0  # answers of evaluation runs, left out
    unreadable: int = 0
    reached_ms: int | None = None  # where reading stopped since there was too much; what is newer is missing

    @property
    def cut(self) -> bool:
        """Whether there was more than was read."""
        return self.reached_ms is not None

    def add_results(self, entries: Iterable[Entry]) -> None:
        """Take what one of the two versions answered; live, canary or shadow is the same here."""
        wanted = {version.encode(): place for place, version in enumerate(self.versions)}
        for entry_id, fields in entries:
            place = wanted.get(fields.get(b"version", b""))
            if place is None:
                continue
            try:
                result = Result.from_fields(fields)
            except (MalformedEntryError, NewerSchemaError):
                self.unreadable += 1
                continue
            if EVALUATION in result.tags:
                self.evaluations += 1
            elif result.status == "ok" or result.code in ITS_FAULT:
                self.answers[place].setdefault(result.id, _answer(entry_id, result))

    def add_feedback(self, entries: Iterable[Entry]) -> None:
        """Take true labels; the newest of a prediction counts."""
        for _, fields in entries:
            try:
                label = Feedback.from_fields(fields)
            except (MalformedEntryError, NewerSchemaError):
                self.unreadable += 1
                continue
            if EVALUATION not in label.tags:
                self.labels[label.id] = label.label

    def pairs(self) -> Iterator[Pair]:
        """Yield every text that both answered, in the order of the first version's answers."""
        first, second = self.answers
        return (Pair(one, first[one], second[one], self.labels.get(one)) for one in first if one in second)

    def labelled_pairs(self) -> Iterator[Pair]:
        """Yield the labelled ones, in the order of their labels."""
        first, second = self.answers
        return (
            Pair(one, first[one], second[one], truth)
            for one, truth in self.labels.items()
            if one in first and one in second
        )

    def apart(self) -> Iterator[tuple[bool, bool]]:
        """Yield, label by label, whose answer it judges (the second's: true) and whether that was right.

        Texts that only one of them answered, since the second began to answer callers.
        """
        since_ms = self.second_since_ms()
        for one, truth in self.labels.items():
            for is_second in (False, True):
                answer, other = self.answers[is_second].get(one), self.answers[not is_second].get(one)
                if answer and not other and not answer.is_shadow and answer.at_ms >= since_ms:
                    yield is_second, answer.label == truth

    def failures_apart(self) -> Counter[float]:
        """Return, in blocks, how much less often the second version failed on what came."""
        since_ms = self.second_since_ms()
        came = sorted(
            (answer.at_ms, is_second, answer.label is not None)
            for is_second in (False, True)
            for answer in self.answers[is_second].values()
            if not answer.is_shadow and answer.at_ms >= since_ms
        )
        return blocks((is_second, worked) for _, is_second, worked in came)

    def second_since_ms(self) -> int:
        """Return when the second version first answered a caller, Redis time."""
        return min((answer.at_ms for answer in self.answers[1].values() if not answer.is_shadow), default=0)


async def read_versus(  # noqa: PLR0913, PLR0917 - what is read, and how much of it
    redis: Redis,
    tags: list[Tag],
    versions: tuple[str, str],
    since_ms: int = 0,
    until_ms: int | None = None,
    most: int = MOST,
) -> Versus:
    """Read results and feedback of every shard from *since_ms* to *until_ms*, Redis time, at most *most* of each."""
    versus = Versus(versions)
    for tag in tags:
        versus.positions |= {tag.results: str(since_ms), tag.feedback: str(since_ms)}
    await read_on(redis, tags, versus, "+" if until_ms is None else str(until_ms), most)
    return versus


async def read_on(redis: Redis, tags: list[Tag], versus: Versus, last: str = "+", most: int = MOST) -> None:
    """Read what came since, up to *last*, at most *most* entries of a stream."""
    for tag in tags:
        for stream, add in ((tag.results, versus.add_results), (tag.feedback, versus.add_feedback)):
            if await _read(redis, stream, add, versus.positions, last, most):
                reached_ms = entry_time_ms(versus.positions[stream].removeprefix("("))
                versus.reached_ms = min(versus.reached_ms or reached_ms, reached_ms)


async def _read(  # noqa: PLR0913, PLR0917 - one stream, whole
    redis: Redis,
    stream: str,
    add: Callable[[list[Entry]], None],
    positions: dict[str, str],
    last: str,
    most: int,
) -> bool:
    """Read on in one stream, and tell whether there may be more than *most*."""
    seen = 0
    while found := await _page(redis, stream, positions[stream], last):
        add(found)
        seen += len(found)
        positions[stream] = f"({found[-1][0]}"
        if seen >= most:
            return True
    return False


async def _page(redis: Redis, stream: str, first: str, last: str) -> list[Entry]:
    found: Any = await redis.xrange(stream, first, last, PAGE)
    return [(entry_id.decode(), fields) for entry_id, fields in found]


def _answer(entry_id: str, result: Result) -> Answer:
    return Answer(
        label=result.label if result.status == "ok" else None,
        confidence=result.confidence or 0.0,
        inference_ms=(result.inference_ms or 0.0) / (result.batch_size or 1),
        at_ms=entry_time_ms(entry_id),
        is_shadow=result.role == "shadow",
    )

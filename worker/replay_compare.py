"""What a replayed version says beside what was answered at the time."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from broker.events import Result
from broker.ranges import Entry
from broker.streams import entry_time_ms

KEPT_MS: Final = 3_600_000  # an answer whose request has not come for so long is let go: it was outside the range
EXAMPLES: Final = 20  # ids of differences that are named


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: a label with its confidence, or the code of an error."""

    version: str
    label: str | None
    confidence: float | None
    code: str | None


class Answers:
    """The results of a range, read only as far ahead as the requests need."""

    def __init__(self, pages: AsyncIterator[list[Entry]]) -> None:
        self._pages = pages
        self._known: dict[str, tuple[int, Answer]] = {}
        self._read_to_ms = 0
        self._over = False

    async def of(self, wanted: dict[str, int]) -> dict[str, Answer]:
        """Return the answer of each id of *wanted*, whose value is the latest Unix millisecond at which it may be."""
        missing = wanted.keys() - self._known.keys()
        while missing and not self._over and self._read_to_ms <= max(wanted[one] for one in missing):
            page = await anext(self._pages, None)
            if page is None:
                self._over = True
                break
            for entry_id, fields in page:
                self._take(entry_id, fields)
            missing -= self._known.keys()
            self._read_to_ms = entry_time_ms(page[-1][0])
        return {one: self._known.pop(one)[1] for one in wanted if one in self._known}

    def forget_before(self, ms: int) -> None:
        """Let go of answers that no request will ask for."""
        if len(self._known) > 100_000:  # noqa: PLR2004 - some ten megabytes
            self._known = {one: held for one, held in self._known.items() if held[0] > ms - KEPT_MS}

    def _take(self, entry_id: str, fields: dict[bytes, bytes]) -> None:
        identity = fields.get(b"id", b"").decode(errors="replace")
        if not identity or identity in self._known or fields.get(b"role") == b"shadow":
            return
        try:  # without building an event: this is half the time of a replay
            said = [fields[name].decode() if name in fields else None for name in (b"version", b"label", b"code")]
            confidence = float(fields[b"confidence"]) if b"confidence" in fields else None
        except ValueError:  # written by a stranger
            return
        version, label, code = said
        self._known[identity] = (entry_time_ms(entry_id), Answer(version or "", label, confidence, code))


@dataclass(slots=True)
class Comparison:
    """Counts of what was replayed, and of how it differs."""

    version: str
    requests: int = 0
    unreadable: int = 0
    failed: int = 0  # the version gives no label: the text is too long, or it raised
    unanswered: int = 0  # no answer is known: late, lost, forgotten, or not in the range
    was_error: Counter[str] = field(default_factory=Counter)  # code of the answer, where the version has a label now
    pairs: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # version then, label then, label now
    furthest: float = 0.0  # largest difference of confidence where version and label are the same
    examples: list[str] = field(default_factory=list)  # ids of labels that the same version gave otherwise

    def add(self, now: Result, then: Answer | None) -> None:
        """Count one request."""
        self.requests += 1
        self.failed += now.label is None
        if then is None:
            self.unanswered += 1
        elif then.label is None:
            self.was_error[then.code or "error"] += 1
        else:
            label = now.label or f"({now.code})"
            self.pairs[then.version, then.label, label] += 1
            if then.version == self.version:
                self._add_same(now, then, label)

    @property
    def same(self) -> int:
        """Requests that this very version had answered."""
        return sum(count for (version, _, _), count in self.pairs.items() if version == self.version)

    @property
    def differences(self) -> int:
        """Of these, how many have another label now: for one version there should be none."""
        return sum(
            count for (version, then, now), count in self.pairs.items() if version == self.version and then != now
        )

    @property
    def compared(self) -> int:
        """Requests that had a label then."""
        return self.pairs.total()

    @property
    def agreed(self) -> int:
        """Of these, how many with the same label."""
        return sum(count for (_, then, now), count in self.pairs.items() if then == now)

    def document(self) -> dict[str, Any]:
        """Return everything that was counted, for programs."""
        versions = sorted({version for version, _, _ in self.pairs})
        return {
            "version": self.version,
            "requests": self.requests,
            "unreadable": self.unreadable,
            "unanswered": self.unanswered,
            "failed": self.failed,
            "was_error": dict(sorted(self.was_error.items())),
            "compared": self.compared,
            "agreed": self.agreed,
            "same_version": {
                "compared": self.same,
                "differences": self.differences,
                "furthest_confidence": round(self.furthest, 6),
                "ids": self.examples,
            },
            "by_version": {
                version: [
                    {"then": then, "now": now, "count": count}
                    for (found, then, now), count in sorted(self.pairs.items())
                    if found == version
                ]
                for version in versions
            },
        }

    def _add_same(self, now: Result, then: Answer, label: str) -> None:
        if then.label == label:
            self.furthest = max(self.furthest, abs((then.confidence or 0) - (now.confidence or 0)))
        elif len(self.examples) < EXAMPLES:
            self.examples.append(now.id)

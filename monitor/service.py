"""Whether errors, abstentions, odd texts and times are as they were in a version's own hours before; tickets only."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from monitor.accuracy import wilson
from monitor.alarms import ONSET, Alarms, Decided, Finding
from monitor.drift import Counts

DETECTOR: Final = "service"
FLOORS: Final = {"errors": 0.01, "abstained": 0.05, "truncated": 0.05, "empty": 0.01}  # shares below are no news
TIMES: Final = ("queue_ms", "inference_ms")
SLOW: Final = 0.10  # of the answers that may take longer than the limit of a time
SHORTEST_MS: Final = 50.0  # whatever is faster troubles nobody
FACTOR: Final = 2.0  # times the worst of the hours before
Z: Final = 5.0  # one in 3.5 million; with six kinds every five minutes, 0.015 in 30 days
LEAST: Final = 100  # answers that are judged together
HOURS: Final = 3  # before, of which each has as many
CALM: Final = 0.75  # of the limit
QUIET: Final = 3  # judgements in a row below it that end the ticket


class Share(NamedTuple):
    """So many of so many."""

    part: int
    whole: int


class Seen(NamedTuple):
    """What one span of time held: shares by name, and histograms of times."""

    shares: dict[str, Share]
    times: dict[str, Counts]
    since_ms: int = 0  # when it began; of hours nobody asks


@dataclass(slots=True)
class Watched:
    """What is kept of one kind."""

    limit: float = 0.0  # share, as it was when the ticket was opened
    edge: int = 0  # of a time: the bin above which an answer is slow
    quiet: int = 0
    ratio: float = 0.0  # share at the last judgement
    hot: list[int] = field(default_factory=list)  # hours with a ticket, which are no habit


class ServiceWatch:
    """Judges the last minutes by the worst of the hours before, so that a daily rhythm is known after its first day."""

    def __init__(self, alarms: Alarms, edges_ms: dict[str, list[float]]) -> None:
        self._alarms = alarms
        self._edges = edges_ms
        self._kinds = {name: Watched() for name in (*FLOORS, *TIMES)}

    def judge(self, now: Seen, before: dict[int, Seen], hour: int, entry_id: str) -> list[Decided]:
        """Judge what was seen in the last minutes, of which the newest is of *hour*, by the hours *before* it."""
        decided: list[Decided] = []
        for name, kind in self._kinds.items():
            kind.hot = [hot for hot in kind.hot if hot in before or hot >= hour - 1]
            active = f"{DETECTOR} {name}" in self._alarms.active
            if active and hour not in kind.hot:
                kind.hot.append(hour)
            if not active and not self._limited(
                name, kind, [seen for at, seen in before.items() if at not in kind.hot]
            ):
                continue
            share = self._share(name, kind, now)
            if share.whole < LEAST:
                continue
            kind.ratio = share.part / share.whole
            began = [] if active else self._begin(name, kind, share, now.since_ms, entry_id)
            if began:
                kind.hot += [hour - 1, hour]  # it may have come before it was certain
            decided += self._end(name, kind, entry_id) if active else began
        return decided

    def _limited(self, name: str, kind: Watched, before: list[Seen]) -> bool:
        """Set the limit by the hours before; tell whether there are enough of them."""
        if name in TIMES:
            known = [seen.times[name] for seen in before if name in seen.times and seen.times[name].sum() >= LEAST]
            if len(known) < HOURS:
                return False
            edges = self._edges[name]
            slowest = max(int(np.searchsorted(np.cumsum(c), (1 - SLOW) * c.sum())) for c in known)
            allowed = [at for at, edge in enumerate(edges) if at > slowest and edge >= SHORTEST_MS]
            kind.limit, kind.edge = SLOW, min(allowed, default=len(edges))
            return bool(allowed)
        shares = [seen.shares[name] for seen in before if seen.shares[name].whole >= LEAST]
        kind.limit = max([FLOORS[name], *(FACTOR * share.part / share.whole for share in shares)])
        return len(shares) >= HOURS

    @staticmethod
    def _share(name: str, kind: Watched, now: Seen) -> Share:
        if name not in TIMES:
            return now.shares[name]
        counts = now.times.get(name, np.zeros(1, dtype=np.int64))
        return Share(int(counts[kind.edge + 1 :].sum()), int(counts.sum()))

    def _begin(self, name: str, kind: Watched, share: Share, since_ms: int, entry_id: str) -> list[Decided]:
        if wilson(*share, Z).lower <= kind.limit:
            return []
        kind.quiet = 0
        slow = f" took longer than {self._edges[name][kind.edge]:g} ms" if name in TIMES else ""
        finding = Finding(
            detector=DETECTOR,
            feature=name,
            severity="ticket",
            statistic=kind.ratio,
            threshold=kind.limit,
            summary=f"{name}: {share.part} of {share.whole} answers{slow} ({kind.ratio:.1%}), more than the "
            f"{kind.limit:.1%} that the worst of the hours before allows",
            evidence={
                "window": "last minutes",
                "n": share.whole,
                ONSET: since_ms,
                "labels": ["as wanted", name],
                "current": [share.whole - share.part, share.part],
                "wilson": [round(bound, 6) for bound in wilson(*share, Z)],
            },
        )
        return self._alarms.begin(finding, entry_id)

    def _end(self, name: str, kind: Watched, entry_id: str) -> list[Decided]:
        kind.quiet = kind.quiet + 1 if kind.ratio <= CALM * kind.limit else 0
        if kind.quiet < QUIET:
            return []
        return self._alarms.end(DETECTOR, name, kind.ratio, f"{name} are as in the hours before again", entry_id)

    def levels(self) -> dict[str, tuple[float, float]]:
        """Return the share of each kind at the last judgement, and its limit; 1 where none is known."""
        return {name: (kind.ratio, kind.limit or 1.0) for name, kind in self._kinds.items()}

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {name: [kind.limit, kind.edge, kind.quiet, kind.ratio, kind.hot] for name, kind in self._kinds.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        self._kinds = {name: Watched(*state[name]) for name in self._kinds}

"""Counts by event time: minutes for an hour, hours for two days, days for weeks. The only clock is the entries' own."""

from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
MINUTES: Final = 60
HOURS: Final = 48
RINGS: Final = ("minutes", "hours", "days")  # as the snapshot names them


class Span(NamedTuple):
    """So many panes of one length; the newest is the one that *now* falls into."""

    length_ms: int
    panes: int

    def starts(self, now_ms: int) -> list[int]:
        """Return when each pane begins, oldest first."""
        newest = now_ms // self.length_ms
        return [index * self.length_ms for index in range(newest - self.panes + 1, newest + 1)]

    @classmethod
    def since(cls, since_ms: int, now_ms: int, days: int) -> "Span":
        """Return the finest span from *since_ms* to *now_ms*, at most of today and *days* before."""
        kept = {MINUTE_MS: MINUTES, HOUR_MS: HOURS, DAY_MS: days + 1}
        for length_ms, most in kept.items():
            panes = now_ms // length_ms - since_ms // length_ms + 1
            if panes <= most:
                return cls(length_ms, max(panes, 1))
        return cls(DAY_MS, days + 1)


DAY: Final = "24h"
WINDOWS: Final = {"5m": Span(MINUTE_MS, 5), "1h": Span(MINUTE_MS, 60), DAY: Span(HOUR_MS, 24)}

PaneT = TypeVar("PaneT")
ValueT = TypeVar("ValueT")


def windows(days: int) -> dict[str, Span]:
    """Return every window by its name; the longest is of today (UTC) and the *days* before."""
    return {**WINDOWS, f"{days}d": Span(DAY_MS, days + 1)}


class Panes(Generic[PaneT]):
    """Three rings of panes; what is older than a ring has been dropped from it."""

    def __init__(self, new: Callable[[], PaneT], days: int) -> None:
        self.minutes: dict[int, PaneT] = {}  # minute since 1970 to its pane
        self.hours: dict[int, PaneT] = {}
        self.days: dict[int, PaneT] = {}
        self._new = new
        self._rings = (
            (self.minutes, MINUTE_MS, MINUTES),
            (self.hours, HOUR_MS, HOURS),
            (self.days, DAY_MS, days + 1),
        )

    def at(self, event_ms: int, now_ms: int) -> list[PaneT]:
        """Return the panes an event of *event_ms* counts into when the newest entry is of *now_ms*; maybe none."""
        found = []
        for ring, length, kept in self._rings:
            index = event_ms // length
            if index > now_ms // length - kept:
                if index not in ring:
                    ring[index] = self._new()
                found.append(ring[index])
        return found

    def prune(self, now_ms: int) -> None:
        """Drop what is too old when the newest entry is of *now_ms*."""
        for ring, length, kept in self._rings:
            for index in [i for i in ring if i <= now_ms // length - kept]:
                del ring[index]

    def span(self, span: Span, now_ms: int) -> Iterator[PaneT]:
        """Yield the panes of *span* that ends at *now_ms*."""
        newest = now_ms // span.length_ms
        return (pane for index, pane in self._ring(span).items() if newest - span.panes < index <= newest)

    def beginning(self, start_ms: int, span: Span) -> PaneT | None:
        """Return the pane of the length of *span* that begins at *start_ms*; None where nothing was counted."""
        return self._ring(span).get(start_ms // span.length_ms)

    def _ring(self, span: Span) -> dict[int, PaneT]:
        return next(ring for ring, length, _ in self._rings if length == span.length_ms)

    def dump(self, plain: Callable[[PaneT], Any]) -> dict[str, Any]:
        """Return the rings as plain values, each pane made *plain*."""
        return {
            name: {str(index): plain(pane) for index, pane in ring.items()}
            for name, (ring, _, _) in zip(RINGS, self._rings, strict=True)
        }

    def load(self, state: dict[str, Any], pane: Callable[[Any], PaneT]) -> None:
        """Take the rings back."""
        for name, (ring, _, _) in zip(RINGS, self._rings, strict=True):
            ring.update({int(index): pane(dumped) for index, dumped in state[name].items()})


class Recent(Generic[ValueT]):
    """At most *most* named values; naming one more drops the one that was named longest ago."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[str, ValueT] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> ValueT:
        return self._values[name]

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> list[tuple[str, ValueT]]:
        """Return names and values, the one named longest ago first."""
        return list(self._values.items())

    def values(self) -> list[ValueT]:
        """Return the values, the one named longest ago first."""
        return list(self._values.values())

    def name(self, name: str) -> None:
        """Note that *name* was named just now."""
        self._values[name] = self._values.pop(name)

    def put(self, name: str, value: ValueT) -> ValueT | None:
        """Add or replace a value, named just now; return the one that had to go, if any."""
        self._values.pop(name, None)
        self._values[name] = value
        if len(self._values) <= self._most:
            return None
        return self._values.pop(next(iter(self._values)))

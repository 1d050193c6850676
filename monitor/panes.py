"""Counts by event time: minutes for an hour, hours for two days. The only clock is the entries' own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
MINUTES: Final = 60
HOURS: Final = 48


class Span(NamedTuple):
    """So many panes of one length; the newest is the one that *now* falls into."""

    length_ms: int
    panes: int

    def starts(self, now_ms: int) -> list[int]:
        """Return when each pane begins, oldest first."""
        newest = now_ms // self.length_ms
        return [index * self.length_ms for index in range(newest - self.panes + 1, newest + 1)]

    @classmethod
    def since(cls, since_ms: int, now_ms: int) -> "Span":
        """Return the finest span from *since_ms* to *now_ms*; where that is more than is kept, all that is kept."""
        for length_ms, kept in ((MINUTE_MS, MINUTES), (HOUR_MS, HOURS)):
            panes = now_ms // length_ms - since_ms // length_ms + 1
            if panes <= kept:
                return cls(length_ms, max(panes, 1))
        return cls(HOUR_MS, HOURS)


WINDOWS: Final = {"5m": Span(MINUTE_MS, 5), "1h": Span(MINUTE_MS, 60), "24h": Span(HOUR_MS, 24)}

PaneT = TypeVar("PaneT")
ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class Panes(Generic[PaneT]):
    """Two rings of panes; what is older than a ring has been dropped from it."""

    new: Callable[[], PaneT]
    minutes: dict[int, PaneT] = field(default_factory=dict)  # minute since 1970 to its pane
    hours: dict[int, PaneT] = field(default_factory=dict)

    def at(self, event_ms: int, now_ms: int) -> list[PaneT]:
        """Return the panes an event of *event_ms* counts into when the newest entry is of *now_ms*; maybe none."""
        found = []
        for ring, length, kept in ((self.minutes, MINUTE_MS, MINUTES), (self.hours, HOUR_MS, HOURS)):
            index = event_ms // length
            if index > now_ms // length - kept:
                if index not in ring:
                    ring[index] = self.new()
                found.append(ring[index])
        return found

    def prune(self, now_ms: int) -> None:
        """Drop what is too old when the newest entry is of *now_ms*."""
        for ring, length, kept in ((self.minutes, MINUTE_MS, MINUTES), (self.hours, HOUR_MS, HOURS)):
            for index in [i for i in ring if i <= now_ms // length - kept]:
                del ring[index]

    def window(self, name: str, now_ms: int) -> Iterator[PaneT]:
        """Yield the panes of window *name* that ends at *now_ms*."""
        return self.span(WINDOWS[name], now_ms)

    def span(self, span: Span, now_ms: int) -> Iterator[PaneT]:
        """Yield the panes of *span* that ends at *now_ms*."""
        newest = now_ms // span.length_ms
        return (pane for index, pane in self._ring(span).items() if newest - span.panes < index <= newest)

    def beginning(self, start_ms: int, span: Span) -> PaneT | None:
        """Return the pane of the length of *span* that begins at *start_ms*; None where nothing was counted."""
        return self._ring(span).get(start_ms // span.length_ms)

    def _ring(self, span: Span) -> dict[int, PaneT]:
        return self.minutes if span.length_ms == MINUTE_MS else self.hours


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

    def names(self) -> set[str]:
        """Return every name that is kept."""
        return set(self._values)

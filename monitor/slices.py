"""Counts by tag, of the last day: a bounded number of slices, the rest together."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from monitor.panes import HOUR_MS

MAX_SLICES: Final = 32  # of one version; further ones are counted as "other" until one was silent for a day
HOURS: Final = 24
OTHER: Final = "other"


class Slices:
    """Whole counts by slice (``tag=value``) and hour; they add."""

    def __init__(self, width: int) -> None:
        self.hours: dict[str, dict[int, list[int]]] = {}
        self._width = width

    def admit(self, name: str) -> str:
        """Return the slice that *name* is counted under."""
        return name if name in self.hours or len(self.hours) < MAX_SLICES else OTHER

    def names_of(self, tags: Iterable[str]) -> Iterator[str]:
        """Yield the slices that one entry with *tags* is counted under; "other" once, however many are not admitted."""
        named: set[str] = set()
        for tag in tags:
            name = self.admit(tag)
            if name not in named:
                named.add(name)
                yield name

    def add(self, name: str, event_ms: int, values: Sequence[int]) -> None:
        """Add *values* to an admitted slice in the hour of *event_ms*."""
        hour = self.hours.setdefault(name, {}).setdefault(event_ms // HOUR_MS, [0] * self._width)
        for place, value in enumerate(values):
            hour[place] += value

    def counted(self, name: str, event_ms: int) -> Sequence[int]:
        """Return what is counted of a slice in the hour of *event_ms*."""
        return self.hours.get(name, {}).get(event_ms // HOUR_MS, [0] * self._width)

    def prune(self, now_ms: int) -> list[str]:
        """Drop what is older than a day when the newest entry is of *now_ms*; return the slices that are gone."""
        oldest = now_ms // HOUR_MS - HOURS
        for hours in self.hours.values():
            for hour in [hour for hour in hours if hour <= oldest]:
                del hours[hour]
        gone = [name for name, hours in self.hours.items() if not hours]
        for name in gone:
            del self.hours[name]
        return gone

    def dump(self) -> list[Any]:
        """Return the state as plain values; the order of the slices is that of their first entry."""
        return [[name, {str(hour): values for hour, values in hours.items()}] for name, hours in self.hours.items()]

    def load(self, state: Iterable[list[Any]]) -> None:
        """Take the state back."""
        self.hours = {name: {int(hour): values for hour, values in hours.items()} for name, hours in state}


def day_totals(parts: Iterable[Slices], now_ms: int) -> Iterator[tuple[str, list[int]]]:
    """Yield every slice of *parts* with its counts of the day that ends at *now_ms*, added, by name."""
    parts = list(parts)
    oldest = now_ms // HOUR_MS - HOURS
    for name in sorted({name for part in parts for name in part.hours}):
        found = [v for part in parts for hour, v in part.hours.get(name, {}).items() if hour > oldest]
        if found:
            yield name, [sum(column) for column in zip(*found, strict=True)]

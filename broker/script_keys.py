"""What a script is called with: each key once, named by its position, and fields as flat lists."""

from collections.abc import Callable
from itertools import chain

from broker.streams import IDEM_SLOTS, Tag


class ScriptKeys:
    """Key names of one script call, each listed once, named by position (Lua counts from 1)."""

    def __init__(self, tag: Tag, first: list[str]) -> None:
        self.names = first
        self._tag = tag
        self._positions = {name: position for position, name in enumerate(first, 1)}
        self._by_time: dict[tuple[Callable[[Tag, int], str], int], int] = {}

    def position(self, name: str) -> int:
        """Return the position of *name*, adding it where it is new."""
        position = self._positions.get(name)
        if position is None:
            self.names.append(name)
            position = self._positions[name] = len(self.names)
        return position

    def answers(self, time_ms: int) -> int:
        """Return the position of the answer hash for ids made then."""
        return self._of_time(Tag.answers, time_ms // 60_000)

    def joins(self, time_ms: int) -> int:
        """Return the position of the hash of join rows for ids made then."""
        return self._of_time(Tag.joins, time_ms // 1000)

    def ring(self) -> int:
        """Add the ring of Idempotency-Keys, whose slots come after it, and return its position."""
        ring, *slots = [self._tag.idem_ring, *map(self._tag.idem, range(IDEM_SLOTS))]
        self.names += [ring, *slots]
        return len(self.names) - len(slots)

    def _of_time(self, name: Callable[[Tag, int], str], period: int) -> int:
        """Most ids of a call are of one minute and second: their keys are named once."""
        position = self._by_time.get((name, period))
        if position is None:
            position = self._by_time[name, period] = self.position(name(self._tag, period))
        return position


def flat(fields: dict[str, str]) -> list[str]:
    """Return name, value, name, value."""
    return list(chain.from_iterable(fields.items()))

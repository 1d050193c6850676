"""How fast something comes at present, from its count, read again and again."""

from collections import deque
from typing import Final

PRESENT_MS: Final = 60_000  # over which is counted what comes


class Pace:
    """How many of something come of late, from a count that only grows."""

    def __init__(self) -> None:
        self._looked: deque[tuple[int, int]] = deque()  # when, Unix ms, and how many had come by then

    def per_second(self, came: int, now_ms: int) -> float | None:
        """Return how many come, *came* having come by now; None before the second look."""
        if self._looked and (now_ms < self._looked[-1][0] or came < self._looked[-1][1]):
            self._looked.clear()  # the clock was set back, or it is another log
        self._looked.append((now_ms, came))
        while len(self._looked) > 1 and now_ms - self._looked[1][0] >= PRESENT_MS:
            self._looked.popleft()
        since_ms, before = self._looked[0]
        return (came - before) * 1000 / (now_ms - since_ms) if now_ms > since_ms else None

"""Waiting longer after each failure, never in step with the other processes."""

import asyncio
import random


class Backoff:
    """Doubles from *first_s* to *most_s* seconds; each wait is a random share between half and all of that."""

    def __init__(self, first_s: float = 0.05, most_s: float = 2.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    async def wait(self) -> None:
        """Sleep, and sleep longer next time."""
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, self._most_s)
        await asyncio.sleep(wait_s * random.uniform(0.5, 1))

    def reset(self) -> None:
        """Begin again at the first wait: it worked."""
        self._next_s = self._first_s

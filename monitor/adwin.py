"""ADWIN: keeps the longest window whose older and newer part have the same mean, and says when it had to shorten it."""

import math
from typing import Any

DELTA = 0.002  # river's default; on labels at a constant accuracy it was silent for 200 000 labels
CLOCK = 32  # labels between two looks
BUCKETS = 5  # of one size
GRACE = 10  # labels before the first look
SHORTEST = 5  # labels of a part
BOTH = 2  # buckets that are merged into one of the next size

Bucket = tuple[float, float, int]  # sum, sum of squared deviations, and the time of its first value


class Adwin:
    """A. Bifet and R. Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007, pp. 443-448.

    With the variance bound and the bucket rules of river 0.26.1, whose answers a golden file holds it to; written anew
    because river brings 180 MB (scipy among it) for these lines. Memory grows with the logarithm of the window.
    """

    def __init__(self) -> None:
        self.rows: list[list[Bucket]] = [[]]  # row i: buckets of 2**i values, the oldest first
        self.width = 0
        self.total = 0.0
        self.deviation = 0.0
        self.tick = 0
        self.onset_ms = 0  # when the mean last changed, as far as buckets tell

    @property
    def mean(self) -> float:
        """The mean of the window; 0 while it is empty."""
        return self.total / self.width if self.width else 0.0

    def update(self, value: float, at_ms: int = 0) -> bool:
        """Take the next value, of *at_ms*; tell whether older ones were dropped because the mean had changed."""
        if self.width:
            self.deviation += self.width * (value - self.mean) ** 2 / (self.width + 1)
        self.rows[0].append((value, 0.0, at_ms))
        self.width += 1
        self.total += value
        self._merge()
        self.tick += 1
        changed = False
        if self.tick % CLOCK == 0 and self.width > GRACE:
            while self._cut():
                self.onset_ms = self.onset_ms if changed else self._split_ms()
                changed = True
                self._drop()
        return changed

    def _merge(self) -> None:
        for size, row in enumerate(self.rows):
            if len(row) <= BUCKETS:
                return
            (first, spread, at_ms), (second, other, _) = row[:BOTH]
            n = 2**size
            between = n * n * (first / n - second / n) ** 2 / (n + n)
            if size + 1 == len(self.rows):
                self.rows.append([])
            self.rows[size + 1].append((first + second, spread + other + between, at_ms))
            del row[:BOTH]

    def _cut(self) -> bool:
        """Tell whether at some bucket's end the two parts' means differ by more than chance allows."""
        n0, u0 = 0, 0.0
        for size in range(len(self.rows) - 1, -1, -1):
            for total, _, _ in self.rows[size]:
                n0, u0 = n0 + 2**size, u0 + total
                n1, u1 = self.width - n0, self.total - u0
                if min(n0, n1) >= SHORTEST and abs(u0 / n0 - u1 / n1) > self._bound(n0, n1):
                    return True
        return False

    def _split_ms(self) -> int:
        """Return the time of the first value after the split that leaves the least squares within both parts."""
        oldest_first = [(2**size, bucket) for size in range(len(self.rows) - 1, -1, -1) for bucket in self.rows[size]]
        n0, u0, best, found = 0, 0.0, -1.0, 0
        for count, (total, _, at_ms) in oldest_first:
            if (
                n0
                and (between := (u0 / n0 - (self.total - u0) / (self.width - n0)) ** 2 * n0 * (self.width - n0)) > best
            ):
                best, found = between, at_ms
            n0, u0 = n0 + count, u0 + total
        return found

    def _bound(self, n0: int, n1: int) -> float:
        odds = math.log(2 * math.log(self.width) / DELTA)
        share = 1 / (n0 - SHORTEST + 1) + 1 / (n1 - SHORTEST + 1)
        spread = max(self.deviation, 0.0) / self.width  # differences may leave less than nothing
        return math.sqrt(2 * share * spread * odds) + 2 / 3 * odds * share

    def _drop(self) -> None:
        """Drop the oldest bucket."""
        total, spread, _ = self.rows[-1].pop(0)
        n = 2 ** (len(self.rows) - 1)
        self.width -= n
        self.total -= total
        self.deviation -= spread + n * self.width * (total / n - self.mean) ** 2 / (n + self.width)
        if not self.rows[-1]:
            self.rows.pop()

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [self.rows, self.total, self.deviation, self.tick, self.onset_ms]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        rows, self.total, self.deviation, self.tick, self.onset_ms = state
        self.rows = [[(bucket[0], bucket[1], bucket[2]) for bucket in row] for row in rows]
        self.width = sum(len(row) << size for size, row in enumerate(self.rows))

"""How many workers there should be, as plain functions of what the monitor shows.

`deploy/prometheus/rules/scaling.yml` says the same in PromQL, for KEDA; a test holds the two together.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of the workers by one model, and what they can do."""

    arrivals_per_second: float  # texts put on the log
    lag: float | None  # texts that no worker has been given; None: Redis cannot know
    pending: float  # texts that a worker has and has not finished
    oldest_s: float  # age of the oldest of both
    workers: int  # that announced themselves
    texts_per_second: float  # of them together, as announced
    refused: float = 0.0  # share of the calls that gateways turned away: what is not on the log and would be


@dataclass(frozen=True, slots=True)
class Targets:
    """What the number of workers is chosen for."""

    utilisation: float = 0.6  # of the workers, by what arrives
    drain_s: float = 15.0  # within which what waits should be done
    oldest_s: float = 15.0  # age of the oldest text: half of what a caller waits
    refused: float = 0.75  # the most that is believed: who is turned away may come again
    growth: float = 1.5  # the most that the age alone may ask for, times the workers there are


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many workers each reason asks for."""

    rate: float = 0.0  # to keep up with what arrives
    backlog: float = 0.0  # beside these, to be done with what waits
    age: float = 0.0  # in place of both, if it is more

    @property
    def workers(self) -> float:
        """How many that is together, not rounded."""
        return max(self.rate + self.backlog, self.age)


def workers_wanted(demands: Sequence[Demand], targets: Targets) -> Wanted | None:
    """Return how many workers all models together want; None: nothing can be known, as nobody says how fast he is.

    What arrives keeps the number up while nothing waits, and what is turned away would arrive, too. What was delivered
    and not finished counts as waiting, so that no lag is no reason to leave it alone. The age speaks where the lag is
    unknown, and not where all is delivered: more workers do not help a text that one of them has.
    """
    rate = backlog = age = 0.0
    for demand in demands:
        if not demand.workers or not demand.texts_per_second:
            if demand.arrivals_per_second or demand.lag or demand.pending:
                return None
            continue
        speed = demand.texts_per_second / demand.workers
        served = 1 - min(demand.refused, targets.refused)
        rate += demand.arrivals_per_second / served / (targets.utilisation * speed)
        backlog += ((demand.lag or 0) + demand.pending) / (targets.drain_s * speed)
        if demand.lag != 0:
            age = max(age, demand.workers * min(demand.oldest_s / targets.oldest_s, targets.growth))
    return Wanted(rate, backlog, age)


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly the number may change. Times in seconds; a step is whichever of its two forms is larger."""

    up_factor: float = 2.0
    up_step: int = 4
    up_period_s: float = 15.0
    down_share: float = 0.1
    down_step: int = 1
    down_period_s: float = 60.0
    settle_s: float = 300.0  # the number falls to the most that was wanted for so long
    tolerance: float = 0.1  # share of the number that is too little to change it


KUBERNETES: Final = Pace()  # as in deploy/kubernetes/base/worker-scaling.yaml
LOCAL: Final = Pace(up_period_s=5.0, down_period_s=10.0, settle_s=60.0)


class Governor:
    """Turns what is wanted into a number of workers, within bounds and without haste, as Kubernetes does."""

    def __init__(self, least: int, most: int, pace: Pace) -> None:
        self._least = least
        self._most = most
        self._pace = pace
        self._wanted: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def decide(self, now_s: float, current: int, wanted: float) -> int:
        """Return how many workers there shall be from *now_s* on, where *current* were."""
        near = abs(wanted - current) <= self._pace.tolerance * current
        self._wanted.append((now_s, current if near else math.ceil(wanted)))
        while self._wanted[0][0] < now_s - self._pace.settle_s:
            self._wanted.popleft()
        newest = self._wanted[-1][1]
        settled = max(number for _, number in self._wanted)
        if newest > current:
            number = min(newest, self._most_up(now_s, current))
        else:
            number = max(min(settled, current), self._most_down(now_s, current))
        number = min(max(number, self._least), self._most)
        if number != current:
            self._changes.append((now_s, number - current))
        return number

    def _most_up(self, now_s: float, current: int) -> int:
        start = current - self._changed(now_s, self._pace.up_period_s, up=True)
        return max(math.ceil(start * self._pace.up_factor), start + self._pace.up_step)

    def _most_down(self, now_s: float, current: int) -> int:
        start = current + self._changed(now_s, self._pace.down_period_s, up=False)
        return min(math.floor(start * (1 - self._pace.down_share)), start - self._pace.down_step)

    def _changed(self, now_s: float, period_s: float, *, up: bool) -> int:
        longest = max(self._pace.up_period_s, self._pace.down_period_s)
        while self._changes and self._changes[0][0] <= now_s - longest:
            self._changes.popleft()
        changes = [change for at, change in self._changes if at > now_s - period_s]
        return sum(change for change in changes if change > 0) if up else -sum(c for c in changes if c < 0)

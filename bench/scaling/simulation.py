"""Workers that take batches from one queue, and an autoscaler that changes their number; simpy keeps the time."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from deploy.scaling.policy import Demand, Governor, Pace, Targets, workers_wanted

Times = NDArray[np.float64]
Choose = Callable[[Demand, Targets], float | None]  # workers that are wanted; None: nothing can be known
RATE_OVER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the policy cannot choose. Seconds."""

    start_s: float = 30.0  # from wanting a worker to its first read: a place, an image, the model
    look_s: float = 5.0  # between two looks of the monitor
    delay_s: float = 10.0  # from a look to whoever decides: scrape, rules, KEDA
    claim_s: float = 6.0  # until another worker takes over what a dead one had
    replace_s: float = 330.0  # until a lost node's pods are started elsewhere


def as_it_is(demand: Demand, targets: Targets) -> float | None:
    """Return what the policy wants."""
    wanted = workers_wanted([demand], targets)
    return wanted and wanted.workers


@dataclass(frozen=True, slots=True)
class Policy:
    """What the autoscaler does."""

    least: int
    most: int
    pace: Pace
    targets: Targets = field(default_factory=Targets)
    choose: Choose = as_it_is
    every_s: float = 15.0  # between two decisions
    first: int = 0  # workers at the beginning; 0: the least


class Work(Protocol):
    """What one worker can do; `bench.scaling.service.Service` is what a real one was measured to do."""

    batch: int  # the most texts at once

    @property
    def texts_per_second(self) -> float:
        """As a busy worker announces it."""

    def __call__(self, texts: int) -> float:
        """Draw the seconds that a batch of *texts* takes."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker: what it works on, and whether it shall end."""

    process: simpy.Process | None = None
    batch: range = range(0)
    ready: bool = False
    leaving: bool = False
    idle: simpy.Event | None = None


@dataclass(slots=True)
class Outcome:
    """What came of a run."""

    arrivals: Times
    finished: Times
    samples: list[tuple[float, int, int, int]] = field(default_factory=list)  # time, waiting, wanted, ready workers
    worker_s: float = 0.0  # paid for, those that start included

    @property
    def latencies(self) -> Times:
        """Seconds from a text's arrival to its result; infinite for what was never finished."""
        return self.finished - self.arrivals


class Fleet:
    """The queue and those who work on it. Texts are numbers, their arrivals sorted times."""

    def __init__(self, env: simpy.Environment, arrivals: Times, work: "Work", where: Surroundings) -> None:
        self._env = env
        self._work = work
        self._where = where
        self._next = 0  # the first text that no worker was given
        self._again: deque[range] = deque()  # what dead workers had, and others may take over
        self._orphans: list[range] = []  # the same before that
        self._watching = False
        self._idle: list[Worker] = []
        self._paid_since = 0.0
        self.lost = 0  # workers that are still counted and work no more
        self.workers: list[Worker] = []
        self.outcome = Outcome(arrivals, np.full(len(arrivals), np.inf))
        self._times: list[float] = arrivals.tolist()

    @property
    def count(self) -> int:
        """How many workers are wanted and paid for."""
        return sum(not worker.leaving for worker in self.workers) + self.lost

    def resize(self, count: int, *, at_once: bool = False) -> None:
        """Start workers, or let some end after their batch; those that have not begun end first."""
        self._pay()
        for _ in range(count - self.count):
            worker = Worker()
            self.workers.append(worker)
            worker.process = self._env.process(self._run(worker, 0.0 if at_once else self._where.start_s))
        staying = sorted((w for w in self.workers if not w.leaving), key=lambda w: (w.ready, w.idle is None))
        for worker in staying[: max(0, self.count - count)]:
            worker.leaving = True
            self._wake(worker)

    def lose(self, count: int) -> None:
        """Kill so many workers with what they have; Kubernetes counts them until it starts others in their place."""
        self._pay()
        ready = [worker for worker in self.workers if worker.ready and not worker.leaving][:count]
        for worker in ready:
            self.workers.remove(worker)
            if worker in self._idle:
                self._idle.remove(worker)
            if worker.batch:
                self._orphans.append(worker.batch)
                self._env.process(self._take_over(worker.batch))
            assert worker.process
            worker.process.interrupt()
        self.lost += len(ready)
        self._env.process(self._replace(len(ready)))

    def demand(self, rate: float) -> Demand:
        """Return what the monitor sees now, where texts arrive at *rate*."""
        arrived = self._arrived()
        held = [*self._again, *self._orphans, *(worker.batch for worker in self.workers if worker.batch)]
        first = min([*(batch.start for batch in held), *([self._next] if arrived > self._next else [])], default=None)
        ready = sum(worker.ready for worker in self.workers)
        return Demand(
            arrivals_per_second=rate,
            lag=arrived - self._next,
            pending=sum(len(batch) for batch in held),
            oldest_s=0.0 if first is None else self._env.now - float(self.outcome.arrivals[first]),
            workers=ready,
            texts_per_second=ready * self._work.texts_per_second,
        )

    def finish(self) -> Outcome:
        """Return what came of it."""
        self._pay()
        return self.outcome

    def _pay(self) -> None:
        self.outcome.worker_s += (len(self.workers) + self.lost) * (self._env.now - self._paid_since)
        self._paid_since = self._env.now

    def _arrived(self) -> int:
        return bisect_right(self._times, self._env.now, self._next)

    def _run(self, worker: Worker, start_s: float) -> Generator[simpy.Event, None, None]:
        try:
            yield self._env.timeout(start_s)
            worker.ready = True
            while not worker.leaving:
                worker.batch = self._take()
                if worker.batch:
                    yield self._env.timeout(self._work(len(worker.batch)))
                    self.outcome.finished[worker.batch.start : worker.batch.stop] = self._env.now
                    worker.batch = range(0)
                else:
                    yield from self._wait(worker)
            self._pay()
            self.workers.remove(worker)
        except simpy.Interrupt:
            return

    def _take(self) -> range:
        if self._again:
            return self._again.popleft()
        stop = min(self._arrived(), self._next + self._work.batch)
        taken, self._next = range(self._next, stop), stop
        return taken

    def _wait(self, worker: Worker) -> Generator[simpy.Event, None, None]:
        """One idle worker watches for the next arrival, and calls another to watch when it comes; the others sleep."""
        if self._watching or self._next >= len(self._times):
            worker.idle = self._env.event()
            self._idle.append(worker)
            yield worker.idle
            worker.idle = None
            return
        self._watching = True
        try:
            yield self._env.timeout(self._times[self._next] - self._env.now)
        finally:
            self._watching = False
            self._wake_one()

    def _wake_one(self) -> None:
        if self._idle:
            self._wake(self._idle[-1])

    def _wake(self, worker: Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.idle is not None and not worker.idle.triggered:
            worker.idle.succeed()

    def _take_over(self, batch: range) -> Generator[simpy.Event, None, None]:
        yield self._env.timeout(self._where.claim_s)
        self._orphans.remove(batch)
        self._again.append(batch)
        self._wake_one()

    def _replace(self, count: int) -> Generator[simpy.Event, None, None]:
        yield self._env.timeout(self._where.replace_s)
        wanted = self.count
        self._pay()
        self.lost -= count
        self.resize(wanted)


def simulate(  # noqa: PLR0913 each is a dimension of what is tried
    arrivals: Times,
    work: Work,
    policy: Policy | int,
    *,
    where: Surroundings = Surroundings(),
    losses: Sequence[tuple[float, int]] = (),
    patience_s: float = 120.0,
) -> Outcome:
    """Run *arrivals* through workers: a fixed number, or as *policy* says; *losses* are times and workers killed then.

    Ends *patience_s* after the last arrival, or when all is finished.
    """
    env = simpy.Environment()
    fleet = Fleet(env, arrivals, work, where)
    if isinstance(policy, int):
        fleet.resize(policy, at_once=True)
    else:
        fleet.resize(policy.first or policy.least, at_once=True)
        env.process(_scale(env, fleet, policy, where))
    for at_s, count in losses:
        env.process(_lose(env, fleet, at_s, count))
    end = float(arrivals[-1])
    env.run(until=end)
    while np.isinf(fleet.outcome.finished).any() and env.now < end + patience_s:
        env.run(until=env.now + 1.0)
    return fleet.finish()


def _lose(env: simpy.Environment, fleet: Fleet, at_s: float, count: int) -> Generator[simpy.Event, None, None]:
    yield env.timeout(at_s)
    fleet.lose(count)


def _scale(
    env: simpy.Environment, fleet: Fleet, policy: Policy, where: Surroundings
) -> Generator[simpy.Event, Any, None]:
    """Look as often as the monitor does, and decide as often as Kubernetes does, by a look that has come through."""
    governor = Governor(policy.least, policy.most, policy.pace)
    looks: deque[tuple[float, Demand]] = deque()
    counts: deque[tuple[float, int]] = deque([(0.0, 0)])
    decide_at = policy.every_s
    while True:
        yield env.timeout(where.look_s)
        counts.append((env.now, int(fleet.outcome.arrivals.searchsorted(env.now, "right"))))
        while counts[1][0] <= env.now - RATE_OVER_S:
            counts.popleft()
        (began_s, before), (ended_s, after) = counts[0], counts[-1]
        demand = fleet.demand((after - before) / (ended_s - began_s))
        looks.append((env.now, demand))
        waiting = int((demand.lag or 0) + demand.pending)
        fleet.outcome.samples.append((env.now, waiting, fleet.count, demand.workers))
        if env.now < decide_at:
            continue
        decide_at += policy.every_s
        while len(looks) > 1 and looks[1][0] <= env.now - where.delay_s:
            looks.popleft()
        wanted = policy.choose(looks[0][1], policy.targets)
        if wanted is not None:
            number = governor.decide(env.now, fleet.count, wanted)
            if number != fleet.count:
                fleet.resize(number)

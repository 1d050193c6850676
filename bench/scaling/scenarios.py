"""What the policy is tried on: kinds of days, and kinds of policies."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from bench.scaling.service import Service
from bench.scaling.simulation import Choose, Outcome, Policy, Surroundings, Times, simulate
from deploy.scaling.policy import KUBERNETES, Demand, Pace, Targets, Wanted, workers_wanted

RECOMMENDED: Final = "recommended"
LAG_COUNT: Final = 120  # entries for each worker: what one does in a second
LATE_S: Final = 1.0
DEADLINE_S: Final = 30.0  # of a caller who waits


@dataclass(frozen=True, slots=True)
class Scenario:
    """Arrivals over time as corners of a line, and what befalls the workers. A rate of 1 is all that one can do."""

    title: str
    corners: tuple[tuple[float, float], ...]  # seconds, and rate in workers
    waves: float = 0.0  # seconds of one swing between the corners' rate and a fifth of it; 0: none
    losses: tuple[tuple[float, int], ...] = ()
    where: Surroundings = field(default_factory=Surroundings)

    def arrivals(self, one_worker: float, seed: int) -> Times:
        """Draw Poisson arrivals."""
        draw = np.random.default_rng(seed)
        end = self.corners[-1][0]
        highest = max(rate for _, rate in self.corners) * one_worker
        at = np.sort(draw.uniform(0, end, draw.poisson(highest * end)))
        rate = np.interp(at, *zip(*self.corners, strict=True)) * one_worker
        if self.waves:
            rate *= 0.6 - 0.4 * np.cos(2 * np.pi * at / self.waves)
        kept: Times = at[draw.uniform(0, highest, len(at)) < rate]
        return kept


DAY: Final = Scenario("a day squeezed into an hour", ((0, 4), (3600, 4)), waves=3600)
SPIKE: Final = Scenario(
    "five times the load for five minutes", ((0, 1), (300, 1), (302, 5), (600, 5), (602, 1), (1500, 1))
)
LOSS: Final = Scenario("a node with half of the workers is lost", ((0, 4), (1200, 4)), losses=((300.5, 4),))
SCENARIOS: Final = {"day": DAY, "spike": SPIKE, "loss": LOSS}


def _only(reasons: Callable[[Wanted], float]) -> Choose:
    def choose(demand: Demand, targets: Targets) -> float | None:
        wanted = workers_wanted([demand], targets)
        return None if wanted is None else reasons(wanted)

    return choose


def lag_alone(count: int) -> Choose:
    """KEDA's redis-streams trigger: a worker for so many entries of lag; it need not know how fast one is."""
    return lambda demand, _targets: (demand.lag or 0) / count


BASE: Final = Policy(least=2, most=64, pace=KUBERNETES)
POLICIES: Final[Mapping[str, Policy | int]] = {
    RECOMMENDED: BASE,
    "lag alone": replace(BASE, choose=lag_alone(LAG_COUNT)),
    "what waits alone": replace(BASE, choose=_only(lambda wanted: wanted.backlog)),
    "what arrives alone": replace(BASE, choose=_only(lambda wanted: wanted.rate)),
    "without the age": replace(BASE, choose=_only(lambda wanted: wanted.rate + wanted.backlog)),
    "age of 5 s, doubling": replace(BASE, targets=Targets(oldest_s=5.0, growth=2.0)),
    "80 % utilised": replace(BASE, targets=Targets(utilisation=0.8)),
    "40 % utilised": replace(BASE, targets=Targets(utilisation=0.4)),
    "done in 2 s": replace(BASE, targets=Targets(drain_s=2.0)),
    "done in 60 s": replace(BASE, targets=Targets(drain_s=60.0)),
    "settled after 30 s": replace(BASE, pace=replace(KUBERNETES, settle_s=30.0)),
    "down at once": replace(BASE, pace=Pace(down_share=1.0, down_period_s=15.0, settle_s=0.0)),
    "up by a quarter a minute": replace(BASE, pace=replace(KUBERNETES, up_factor=1.25, up_step=1, up_period_s=60.0)),
    "looks every 30 s": replace(BASE, every_s=30.0),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What a policy made of a scenario; times in seconds."""

    policy: str
    p50_s: float
    p99_s: float
    late: float  # share of texts that took more than a second
    expired: float  # more than the 30 s after which nobody waits
    most_waiting: int
    workers: float  # paid for, on average
    changes: int


def row(name: str, outcome: Outcome) -> Row:
    """Sum up *outcome*."""
    latencies = outcome.latencies
    counts = [count for _, _, count, _ in outcome.samples]
    return Row(
        policy=name,
        p50_s=float(np.quantile(latencies, 0.5)),
        p99_s=float(np.quantile(latencies, 0.99)),
        late=float((latencies > LATE_S).mean()),
        expired=float((latencies > DEADLINE_S).mean()),
        most_waiting=max((waiting for _, waiting, _, _ in outcome.samples), default=0),
        workers=outcome.worker_s / float(outcome.arrivals[-1]),
        changes=sum(a != b for a, b in itertools.pairwise(counts)),
    )


def run(scenario: Scenario, policy: Policy | int, service: Service, seed: int = 1) -> Outcome:
    """Simulate *policy* on *scenario*; the same seed draws the same arrivals and the same times of work."""
    service.begin(seed)
    arrivals = scenario.arrivals(service.texts_per_second, seed)
    if isinstance(policy, Policy):
        # Both begin where the policy would have settled before.
        first = int(np.ceil(scenario.corners[0][1] * (0.2 if scenario.waves else 1.0) / policy.targets.utilisation))
        policy = replace(policy, first=max(policy.least, first))
    return simulate(arrivals, service, policy, where=scenario.where, losses=scenario.losses)


def compare(
    scenario: Scenario, policies: Mapping[str, Policy | int], service: Service, seeds: Sequence[int]
) -> dict[str, list[Row]]:
    """Return a row of each policy and seed."""
    return {
        name: [row(name, run(scenario, policy, service, seed)) for seed in seeds] for name, policy in policies.items()
    }

"""Keep the number of workers at what is asked of them, here or in compose, by the series that KEDA goes by, too."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from broker.addresses import place
from broker.errors import ObservaError
from deploy.local import alerting, scale
from deploy.local.settings import EXPOSED_INTERNAL_PORT, MOST_WORKERS, StackSettings
from deploy.scaling.policy import LOCAL, Demand, Governor, Targets, Wanted, workers_wanted

RATE_OVER_S: Final = 20.0
PATIENCE_S: Final = 3.0  # for the monitor's answer


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which numbers, how often to look, and how long a smaller number must do before it comes."""

    least: int
    most: int
    every_s: float = 5.0  # the monitor looks as often
    settle_s: float = LOCAL.settle_s

    def check(self) -> None:
        """Make sure that they make sense.

        Raises:
            ObservaError: they do not.

        """
        if not 1 <= self.least <= self.most <= MOST_WORKERS:
            raise ObservaError(
                f"MIN and MAX must be 1 to {MOST_WORKERS} and MIN no more than MAX: with no worker, nobody answers"
            )
        if self.every_s <= 0 or self.settle_s < 0:
            raise ObservaError("--every must be more than 0 and --settle no less")


class Seen(NamedTuple):
    """What the monitor shows of one model at one moment."""

    added: float  # texts ever put on the log
    lag: float | None
    pending: float
    oldest_s: float
    workers: int
    texts_per_second: float
    failures: float  # of the monitor to look; what it shows is then old


class Calls(NamedTuple):
    """What the gateway counted."""

    ended: float = 0.0
    refused: float = 0.0  # of these: 503


def autoscale(settings: StackSettings, bounds: Bounds) -> None:
    """Change the number of workers as the policy says, until interrupted; one line for each decision.

    Raises:
        ObservaError: the bounds make no sense, or nothing runs here any more.

    """
    bounds.check()
    governor = Governor(bounds.least, bounds.most, replace(LOCAL, settle_s=bounds.settle_s))
    arrivals, said = Arrivals(), ""
    while True:
        current = scale.count(settings)
        number, line = _decide(settings, governor, arrivals, current, bounds)
        if line != said or number != current:
            print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
            said = line
        if number != current:
            try:
                scale.scale(settings, number)
            except ObservaError as error:
                print(f"{time.strftime('%H:%M:%S')} not scaled: {error}", flush=True)
        time.sleep(bounds.every_s)


def _decide(
    settings: StackSettings, governor: Governor, arrivals: "Arrivals", current: int, bounds: Bounds
) -> tuple[int, str]:
    """Return the number of workers there shall be, and why."""
    seen = _look(settings)
    if seen is None:
        return current, f"hold {current}: the monitor does not answer"
    demands = arrivals.demands(time.monotonic(), seen, _calls(settings))
    if demands is None:
        return current, f"hold {current}: the monitor cannot see the log"
    wanted = workers_wanted(demands, Targets())
    if wanted is None:
        return current, f"hold {current}: texts wait and no worker says how fast it is"
    number = governor.decide(time.monotonic(), current, wanted.workers)
    if number == current:
        return number, f"hold {current} of {bounds.least} to {bounds.most}"
    return number, f"scale {current} -> {number}: {_why(demands, wanted)}"


def _why(demands: list[Demand], wanted: Wanted) -> str:
    lag = "?" if any(one.lag is None for one in demands) else f"{sum(one.lag or 0 for one in demands):.0f}"
    return (
        f"{sum(one.arrivals_per_second for one in demands):.1f} texts/s arrive (wants {wanted.rate:.1f}), "
        f"{lag} wait and {sum(one.pending for one in demands):.0f} are worked on (wants {wanted.backlog:.1f}), "
        f"the oldest for {max((one.oldest_s for one in demands), default=0):.1f} s (wants {wanted.age:.1f})"
    )


class Arrivals:
    """Texts a second of each model, and the share of calls turned away, from counts that only grow."""

    def __init__(self) -> None:
        self._history: dict[str, deque[tuple[float, float]]] = {}
        self._failures: float | None = None

    def demands(self, now_s: float, seen: dict[str, Seen], calls: Calls) -> list[Demand] | None:
        """Return the demand of each model at *now_s*; None where the monitor failed to look since the last time.

        *calls* are all that gateways ended, and how many of them they turned away.
        """
        before, self._failures = self._failures, sum(one.failures for one in seen.values())
        if before is not None and self._failures > before:
            return None
        ended = self._rate("calls ended", now_s, calls.ended)
        refused = self._rate("calls refused", now_s, calls.refused)
        return [
            Demand(
                self._rate(model, now_s, one.added),
                one.lag,
                one.pending,
                one.oldest_s,
                one.workers,
                one.texts_per_second,
                refused / ended if ended else 0.0,
            )
            for model, one in seen.items()
        ]

    def _rate(self, name: str, now_s: float, count: float) -> float:
        history = self._history.setdefault(name, deque())
        if history and history[-1][1] > count:  # another log, or another process
            history.clear()
        history.append((now_s, count))
        while len(history) > 2 and history[1][0] <= now_s - RATE_OVER_S:  # noqa: PLR2004 two make a rate
            history.popleft()
        (began_s, before), (ended_s, after) = history[0], history[-1]
        return (after - before) / (ended_s - began_s) if ended_s > began_s else 0.0


def _look(settings: StackSettings) -> dict[str, Seen] | None:
    """Return what the monitor shows of each model; None while it does not answer, or has not looked yet."""
    shown = _metrics(place(settings.monitor_host, settings.monitor_port))
    return read(shown) or None if shown else None


def _calls(settings: StackSettings) -> Calls:
    """Return what the gateway counted; nothing while it does not answer, as it then turns nobody away."""
    for address in (alerting.internal_address(settings), f"127.0.0.1:{EXPOSED_INTERNAL_PORT}"):  # in compose
        shown = _metrics(address)
        if shown is not None:
            return read_calls(shown)
    return Calls()


def _metrics(address: str) -> str | None:
    try:
        return httpx.get(f"http://{address}/metrics", timeout=PATIENCE_S).raise_for_status().text
    except httpx.HTTPError:
        return None


def read_calls(exposition: str) -> Calls:
    """Return what the gateway's /metrics says of all models' calls."""
    counts = [
        (sample.labels["status"], sample.value)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "observa_requests_total"
    ]
    return Calls(sum(count for _, count in counts), sum(count for status, count in counts if status == "503"))


def read(exposition: str) -> dict[str, Seen]:
    """Return what the monitor's /metrics says of each model, from the series that deploy/prometheus/rules reads."""
    samples = [sample for family in text_string_to_metric_families(exposition) for sample in family.samples]
    added = _by_model(samples, "observa_stream_entries_added_total")
    lag = _by_model(samples, "observa_stream_lag_entries")
    pending = _by_model(samples, "observa_stream_pending_entries")
    oldest = _by_model(samples, "observa_stream_oldest_seconds")
    workers = _by_model(samples, "observa_workers")
    speed = _by_model(samples, "observa_announced_texts_per_second")
    failures = _by_model(samples, "observa_measurement_failures_total")
    return {
        model: Seen(
            added=added[model],
            lag=lag.get(model),
            pending=pending.get(model, 0.0),
            oldest_s=oldest.get(model, 0.0),
            workers=int(workers.get(model, 0)),
            texts_per_second=speed.get(model, 0.0),
            failures=failures.get(model, 0.0),
        )
        for model in added
    }


def _by_model(samples: Iterable[Sample], name: str) -> dict[str, float]:
    """Return the samples, by model; of streams the requests', of groups the one that answers."""
    return {
        sample.labels["model"]: sample.value
        for sample in samples
        if sample.name == name
        and sample.labels.get("stream", "requests") == "requests"
        and sample.labels.get("group", "workers") == "workers"
        and sample.labels.get("measurement", "groups") == "groups"
    }

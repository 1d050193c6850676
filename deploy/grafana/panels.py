"""What a panel is, and the PromQL that panels share. `$model` is chosen at the top of the page."""

from dataclasses import dataclass
from typing import Final, Literal

MODEL: Final = 'model=~"$model"'
RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and how its series are called."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; *width* is in columns of 24. A limit is drawn as a line, and colours a stat."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["series", "stat", "table", "heatmap"] = "series"
    width: int = 8
    most: float | None = None
    bad_above: float | None = None
    bad_below: float | None = None


def rate(metric: str, by: str, more: str = "") -> str:
    """Return the rate of a counter, added up by *by*; *more* are matchers that begin with a comma."""
    return f"sum by ({by}) (rate({metric}{{{MODEL}{more}}}{RATE}))"


def quantiles(metric: str) -> tuple[Query, ...]:
    """Return the median, p95 and p99 of a histogram."""
    return tuple(
        Query(f"histogram_quantile({q}, {rate(metric + '_bucket', 'le')})", f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)
    )


def window(metric: str, window: str, more: str = "") -> str:
    """Return a gauge of the monitor in one of its windows."""
    return f'{metric}{{{MODEL}, window="{window}"{more}}}'

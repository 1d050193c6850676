"""How early changes are found and how often nothing is: ``just bench-drift``; seeded, about ten minutes."""

import sys
from collections import Counter
from typing import Final

import numpy as np

from bench.monitor.accuracy import main as accuracy
from bench.monitor.streams import (
    QUIET,
    REFERENCE,
    Answers,
    Draw,
    alarms,
    bins_of,
    changes,
    dependent,
    drawn,
    recorded,
    seasonal,
    shipped,
)
from bench.monitor.streams import profile as profile_of
from monitor.profiles import Profile
from monitor.settings import Rules
from monitor.watch import FAMILIES

RULES: Final = Rules(drift_run_length=120_000)  # 12 detectors of 4 features: at most 10 false alarms in 100 000
PACE: Final = 10  # answers a second, of the default budget's row
BUDGET: Final = max(1.0, PACE * 86_400 * 30 * 4 * len(FAMILIES) / RULES.drift_run_length)
WITHIN: Final = 10_000


def references(found: dict[str, Answers], count: int = 5) -> list[Profile]:
    """Return profiles of so many draws of the movies; to calibrate one takes a few seconds."""
    draw = drawn(found["movies"])
    return [profile_of(draw(np.random.default_rng((3, run)), REFERENCE), RULES) for run in range(count)]


def delays(
    before: Draw, change: Draw, profiles: list[Profile], runs: int = 25, multiple: float = 1.0
) -> list[int | None]:
    """Return the answers from each change to the first alarm after it; None: not within `WITHIN`."""
    result: list[int | None] = []
    for run in range(runs):
        rng = np.random.default_rng((1, run))
        profile = profiles[run % len(profiles)]
        answers = np.concatenate([before(rng, QUIET), change(rng, WITHIN)])
        begun = [b.at for b in alarms(bins_of(answers, profile), profile, RULES, multiple) if b.at >= QUIET]
        result.append(begun[0] - QUIET + 1 if begun else None)
    return result


def false_alarms(source: Draw, count: int, profiles: list[Profile], multiple: float = 1.0) -> Counter[str]:
    """Return the alarms, by detector, of *count* answers that change nothing, shared by the references."""
    total: Counter[str] = Counter()
    for run, profile in enumerate(profiles):
        stream = bins_of(source(np.random.default_rng((2, run)), count // len(profiles)), profile)
        total.update(begun.detector for begun in alarms(stream, profile, RULES, multiple))
    return total


def main() -> int:
    """Print both tables."""
    found = recorded()
    movies, profiles = found["movies"], references(found)
    print(f"False alarms of 4 features in 100 000 answers; run length {RULES.drift_run_length}, budget at {PACE}/s")
    print(f"{'traffic':<34}{'set':>8}{'budget':>8}")
    sources = {
        "independent": drawn(movies),
        "AR(1) of length, .1": dependent(movies, 0.1),
        "AR(1) of length, .3": dependent(movies, 0.3),
        "AR(1) of length, .6": dependent(movies, 0.6),
        "daily swing of the label by .05": seasonal(movies, 0.05),
        "daily swing of the label by .10": seasonal(movies, 0.10),
    }
    for name, source in sources.items():
        rates = [false_alarms(source, 500_000, profiles, multiple) for multiple in (1.0, BUDGET)]
        shown = ", ".join(f"{detector} {count / 5:.1f}" for detector, count in sorted(rates[0].items()))
        print(f"{name:<34}{rates[0].total() / 5:>8.1f}{rates[1].total() / 5:>8.1f}  {shown}", flush=True)
    print(f"\nAnswers to the first alarm, median (longest) of 25; missed within {WITHIN}")
    print(f"{'change':<28}{'set':>16}{'budget':>16}{'shipped':>16}")
    for name, change in changes(found).items():
        columns = [delays(drawn(movies), change, profiles, multiple=multiple) for multiple in (1.0, BUDGET)]
        columns.append(delays(drawn(found["movies_valid"]), change, [shipped(RULES)]))
        print(f"{name:<28}" + "".join(f"{_shown(column):>16}" for column in columns), flush=True)
    print()
    accuracy()
    return 0


def _shown(column: list[int | None]) -> str:
    known = sorted(delay for delay in column if delay is not None)
    missed = len(column) - len(known)
    return f"{np.median(known):.0f} ({known[-1]})" + (f" -{missed}" if missed else "") if known else "missed"


if __name__ == "__main__":
    sys.exit(main())

"""``just bench-scaling``: the policies beside each other, about four minutes; ``measure`` first measures anew.

Writes bench/scaling/RESULTS.md and the pictures beside it.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from bench.scaling import measure, plots
from bench.scaling.scenarios import (
    BASE,
    POLICIES,
    RECOMMENDED,
    SCENARIOS,
    SPIKE,
    Row,
    Scenario,
    compare,
    run,
)
from bench.scaling.service import measured, service_of
from bench.scaling.simulation import Surroundings, simulate

FOLDER: Final = Path(__file__).parent
SEEDS: Final = (1, 2)
STARTS_S: Final = (5.0, 30.0, 60.0, 120.0)
REPLACED_S: Final = (60.0, 330.0)


def main() -> None:
    """Simulate everything and write it down."""
    parser = argparse.ArgumentParser(prog="just bench-scaling", description=__doc__)
    parser.add_argument("form", nargs="?", choices=("measure",), help="measure anew first (two quiet minutes)")
    if parser.parse_args().form:
        measure.main()
    found = measured()
    sections = [
        "# Scaling workers: what was measured, and what was simulated with it",
        f"Measured {found['circumstances']}. Written by `just bench-scaling`.",
        *_validated(found),
        *(_compared(name, scenario, found) for name, scenario in SCENARIOS.items()),
        _started(found),
        _replaced(found),
    ]
    text = "\n\n".join(sections)
    (FOLDER / "RESULTS.md").write_text(text + "\n")
    print(text)


def _validated(found: Mapping[str, Any]) -> list[str]:
    """Feed the arrivals of the measured runs to the simulation and put the waits beside each other."""
    lines = []
    for trace in found["traces"]:
        arrived = np.array(trace["arrived_ms"]) / 1000
        real = np.array(trace["answered_ms"]) / 1000 - arrived
        simulated = [simulate(arrived, service_of(found, seed), trace["workers"]).latencies for seed in SEEDS]
        values = [f"{len(real)}", f"{trace['workers']}", f"{trace['share']:.0%}"]
        values += [
            f"{of(real) * 1000:.1f} / {median(of(waits) for waits in simulated) * 1000:.1f}"
            for of in (np.mean, np.median, lambda waits: np.quantile(waits, 0.95))
        ]
        lines.append(f"| {' | '.join(values)} |")
    return [
        (
            "## The simulation beside the real stack\n\n"
            "The same arrivals; milliseconds from entry to result, measured / simulated."
        ),
        "| texts | workers | load | mean | p50 | p95 |\n|---|---|---|---|---|---|\n" + "\n".join(lines),
    ]


def _compared(name: str, scenario: Scenario, found: Mapping[str, Any]) -> str:
    service = service_of(found)
    rows = compare(scenario, POLICIES, service, SEEDS)
    shown = (RECOMMENDED, "lag alone", "what waits alone", "what arrives alone")
    plots.draw(FOLDER / f"{name}.png", scenario, {each: run(scenario, POLICIES[each], service) for each in shown})
    picture = f"![Backlog, waits and workers]({name}.png)"
    return f"## {name.capitalize()}: {scenario.title}\n\n{picture}\n\n{_table('policy', rows)}"


def _started(found: Mapping[str, Any]) -> str:
    rows = {}
    for start_s in STARTS_S:
        scenario = replace(SPIKE, where=Surroundings(start_s=start_s))
        rows |= compare(scenario, {f"{start_s:.0f} s": BASE}, service_of(found), SEEDS)
    return f"## Spike: how long a worker takes to start\n\n{_table('start', rows)}"


def _replaced(found: Mapping[str, Any]) -> str:
    rows = {}
    for replace_s in REPLACED_S:
        scenario = replace(SCENARIOS["loss"], where=Surroundings(replace_s=replace_s))
        rows |= compare(scenario, {f"{replace_s:.0f} s": BASE}, service_of(found), SEEDS)
    return f"## Loss: how long until the lost node's workers are started elsewhere\n\n{_table('replaced after', rows)}"


def _table(first: str, rows: Mapping[str, Sequence[Row]]) -> str:
    lines = [
        f"| {first} | p50, s | p99, s | later than 1 s | than 30 s | most waiting | workers paid | changes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in rows.items():
        middle = Row(name, *(median(getattr(one, field) for one in each) for field in Row.__slots__[1:]))
        lines.append(
            f"| {name} | {middle.p50_s:.3f} | {middle.p99_s:.2f} | {middle.late:.2%} | {middle.expired:.2%} "
            f"| {middle.most_waiting:,.0f} | {middle.workers:.1f} | {middle.changes:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

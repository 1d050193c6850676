"""``just bench-flat MINUTES``: memory of each part under a steady load of labelled texts, minute by minute."""

import argparse
from pathlib import Path
from typing import Final

from bench.serving import runs
from bench.serving.load import Plan
from bench.serving.observa import observa
from bench.serving.rivals import own_folder
from bench.serving.systems import Running, measure

MODEL: Final = "sentiment-linear"
STEP_S: Final = 60.0


def main() -> None:
    """Print a line a minute: answers a second and megabytes of each part."""
    parser = argparse.ArgumentParser(prog="just bench-flat", description="Does memory stay flat under a steady load?")
    parser.add_argument("minutes", nargs="?", type=int, default=10)
    parser.add_argument("--per-second", type=float, default=500.0, help="texts, each with its true label")
    chosen = parser.parse_args()
    with own_folder() as folder, observa(MODEL, Path(folder)) as running:
        load = plan(running, chosen.per_second)
        minutes: list[dict[str, float]] = []
        print(f"minute  answers/s  bad  {'  '.join(f'{part} MB' for part in running.parts)}", flush=True)
        for minute in range(chosen.minutes + 1):
            seen = measure(running, load).seen if minute else None
            rate, bad = (len(seen.latencies_ms) / seen.wall_s, sum(seen.bad.values())) if seen else (0.0, 0)
            megabytes = running.memory_mb_of_parts()
            held = "  ".join(f"{megabytes[part]:{len(part) + 3}.1f}" for part in megabytes)
            print(f"{minute:6}  {rate:9.1f}  {bad:3}  {held}", flush=True)
            minutes.append(megabytes)
    for part, first in minutes[0].items():
        print(f"figure memory of {part}: MB at first {first:.1f}, in the end {minutes[-1][part]:.1f}")


def plan(running: Running, per_second: float) -> Plan:
    """Return a minute's load of texts that bring their true labels along, so that accuracy is counted, too."""
    bodies = [running.body_of(text)[:-1] + ',"true_label":"positive"}' for text in runs.texts()]
    return Plan(tuple(map(running.request_of, bodies)), STEP_S, per_second=per_second)


if __name__ == "__main__":
    main()

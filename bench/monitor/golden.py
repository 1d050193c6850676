"""Ask river what its ADWIN says of seeded streams; run where river is installed: ``python bench/monitor/golden.py``."""

import json
import random
from pathlib import Path

import river  # type: ignore[import-not-found]
from river.drift import ADWIN  # type: ignore[import-not-found]

STREAMS = {1: (0.85, 0.6), 2: (0.9, 0.9), 3: (0.7, 0.95, 0.5), 4: (0.85, 0.82, 0.79, 0.76)}


def main() -> None:
    """Write the changes found, and width, sum and squared deviations after every 500 values."""
    streams = {}
    for seed, levels in STREAMS.items():
        rng, adwin = random.Random(seed), ADWIN()
        hits, states = [], []
        values = [float(rng.random() < level) for level in levels for _ in range(3000)]
        for at, value in enumerate(values, 1):
            adwin.update(value)
            if adwin.drift_detected:
                hits.append(at)
            if at % 500 == 0:
                states.append([adwin.width, adwin.total, adwin.variance])
        streams[str(seed)] = {"levels": levels, "hits": hits, "state": states}
    golden = {"river": river.__version__, "streams": streams}
    Path("tests/monitor/data/adwin.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

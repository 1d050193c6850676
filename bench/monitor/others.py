"""Ask Evidently and river, at their defaults, about streams in a file: run where both are installed.

``python bench/monitor/others.py STREAMS.npz ANSWERS.json``; see ``bench.monitor.beside``, which calls it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from evidently.legacy.calculations.stattests.registry import get_stattest  # type: ignore[import-not-found]
from river import drift  # type: ignore[import-not-found]

WINDOWS = (500, 2000)
KSWIN_SEES = 5000  # entries of unchanged streams only: it takes half a millisecond for one
LABEL = 3  # the last of the four features is a category


def evidently_alarms(reference: Any, stream: Any, window: int) -> list[int]:
    """Return after how many entries a tumbling window drifts in any feature, by the test that Evidently would take."""
    kinds = ["num"] * LABEL + ["cat"]
    found = []
    for end in range(window, len(stream) + 1, window):
        part = stream[end - window : end]
        for place, kind in enumerate(kinds):
            before, now = pd.Series(reference[:, place]), pd.Series(part[:, place])
            test = get_stattest(before, now, kind, None)
            if test(before, now, kind, None).drifted:
                found.append(end)
                break
    return found


def river_alarms(make: Any, stream: Any) -> list[int]:
    """Return after which entries a detector of any feature fires; each begins anew after its alarm."""
    found = set()
    for place in range(stream.shape[1]):
        detector = make()
        for at, value in enumerate(stream[:, place].tolist(), 1):
            detector.update(value)
            if detector.drift_detected:
                found.add(at)
    return sorted(found)


def main(streams: Path, answers: Path) -> None:
    """Write, by stream and detector, where alarms began."""
    detectors: dict[str, Any] = {
        "river ADWIN": drift.ADWIN,
        "river PageHinkley": drift.PageHinkley,
        "river KSWIN": lambda: drift.KSWIN(seed=1),
    }
    result: dict[str, dict[str, list[int]]] = {}
    with np.load(streams) as arrays:
        for name in [name for name in arrays.files if not name.startswith("reference")]:
            stream, reference = arrays[name], arrays[f"reference{name.rpartition('#')[2]}"]
            found = {f"Evidently, windows of {w}": evidently_alarms(reference, stream, w) for w in WINDOWS}
            for detector, make in detectors.items():
                if detector == "river KSWIN" and not name.startswith("null"):
                    continue
                seen = KSWIN_SEES if detector == "river KSWIN" else len(stream)
                found[detector] = river_alarms(make, stream[:seen])
            result[name] = found
    answers.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

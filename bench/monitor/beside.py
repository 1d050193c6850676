"""The same streams beside Evidently's and river's defaults, which run in an environment of their own made by uv."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.monitor.streams import LABEL, NUMBERS, QUIET, REFERENCE, Answers, changes, column, drawn

PYTHON: Final = "3.11"
PINNED: Final = ("evidently==0.7.23", "pandas==2.3.3", "scipy==1.17.1", "numpy==2.4.6", "river==0.26.1")
SCRIPT: Final = Path(__file__).with_name("others.py")
RUNS: Final = 5  # of each change: Evidently takes a second for a few windows
AFTER: Final = 6000  # entries after a change, within which a delay is looked for
NULL: Final = 20_000  # unchanged entries of each run
KSWIN_SEES: Final = 5000  # of those; the changes it is not asked about


def ask(found: dict[str, Answers], seed: int) -> dict[str, dict[str, list[int]]] | None:
    """Return where each detector of others began alarms, by stream ``change#run``; None without uv."""
    uv = shutil.which("uv")
    if uv is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        streams, answers = Path(folder, "streams.npz"), Path(folder, "answers.json")
        np.savez_compressed(streams, **_streams(found, seed))  # type: ignore[arg-type]
        packages = [part for package in PINNED for part in ("--with", package)]
        command = [uv, "run", "--isolated", "--no-project", "--quiet", "--python", PYTHON, *packages]
        subprocess.run([*command, "python", str(SCRIPT), str(streams), str(answers)], check=True)
        asked: dict[str, dict[str, list[int]]] = json.loads(answers.read_text(encoding="utf-8"))
    return asked


def rows(asked: dict[str, dict[str, list[int]]]) -> dict[str, dict[str, str]]:
    """Return, by detector and column, the median delay with the missed ones, and the false alarms in 100 000."""
    table: dict[str, dict[str, str]] = {}
    names = dict.fromkeys(name.partition("#")[0] for name in asked)
    for detector in dict.fromkeys(name for found in asked.values() for name in found):
        row = table.setdefault(detector, {})
        for name in names:
            of_stream = [found for stream, found in asked.items() if stream.partition("#")[0] == name]
            of_runs = [found[detector] for found in of_stream if detector in found]
            if not of_runs:
                row[name] = "not asked"
            elif name == "null":
                entries = len(of_runs) * (KSWIN_SEES if detector == "river KSWIN" else NULL)
                row[name] = f"{sum(map(len, of_runs)) / entries * 100_000:.1f}"
            else:
                row[name] = _delay(of_runs)
    return table


def _delay(of_runs: list[list[int]]) -> str:
    delays = [next((at - QUIET for at in run if at > QUIET), None) for run in of_runs]
    known = sorted(delay for delay in delays if delay is not None)
    missed = len(delays) - len(known)
    return (f"{np.median(known):.0f}" if known else "") + (f" -{missed}" if missed else "")


def _streams(found: dict[str, Answers], seed: int) -> dict[str, NDArray[np.float64]]:
    draw, result = drawn(found["movies"]), {}
    for run in range(RUNS):
        result[f"reference{run}"] = _values(draw(np.random.default_rng((seed, 3, run)), REFERENCE))
        result[f"null#{run}"] = _values(draw(np.random.default_rng((seed, 2, run)), NULL))
        for name, change in changes(found).items():
            rng = np.random.default_rng((seed, 1, run))
            result[f"{name}#{run}"] = _values(np.concatenate([draw(rng, QUIET), change(rng, AFTER)]))
    return result


def _values(answers: Answers) -> NDArray[np.float64]:
    return np.stack([column(answers, name) for name in (*NUMBERS, LABEL)], axis=1)

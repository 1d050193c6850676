"""``just bench``: everything, about twenty minutes; ``just bench quick``: Observa alone, under two."""

import argparse
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

from bench.serving import plots, runs
from bench.serving.report import Section, table
from bench.serving.rivals import PEERS
from bench.serving.systems import ROOT

RESULTS: Final = ROOT / "bench" / "RESULTS.md"
TITLE: Final = "# Observa beside what else one could use"


def main() -> None:
    """Measure, print, and keep what a full run found."""
    parser = argparse.ArgumentParser(prog="just bench", description="How fast answers come, beside the alternatives.")
    parser.add_argument("form", nargs="?", choices=("full", "quick"), default="full")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma separated; empty: none (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    chosen = parser.parse_args()
    if chosen.form == "quick":
        print("\n\n".join(section.text() for section in _quick()))
        return
    peers = [name for name in chosen.peers.split(",") if name]
    sections = _full(peers, rounds=chosen.rounds, seconds=chosen.seconds)
    text = "\n\n".join([TITLE, _circumstances(), *(section.text() for section in sections)])
    print(text)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(f"\nwritten: {RESULTS.relative_to(ROOT)}")


def _quick() -> list[Section]:
    sections = []
    for model in ("echo", "sentiment-linear", "sentiment"):
        rows, ceiling, _ = runs.closed([runs.OBSERVA], model, (1, 64), rounds=1, seconds=3.0)
        sections.append(table(f"{model}, closed loop", rows, ceiling))
    return sections


def _full(peers: list[str], *, rounds: int, seconds: float) -> list[Section]:
    sections, shares = [], {}
    for model in ("sentiment", "sentiment-linear"):
        rows, ceiling, missing = runs.closed([runs.OBSERVA, *peers], model, (1, 16, 64), rounds=rounds, seconds=seconds)
        shares[model] = (rows, ceiling)
        sections.append(table(f"{model}: closed loop, median of {rounds} rounds", rows, ceiling, missing))
    rows, _, _ = runs.closed([runs.OBSERVA], "echo", (1, 16, 64), rounds=rounds, seconds=seconds)
    sections.append(table("echo: the pipeline alone", rows, 0.0))
    capacity = next(
        row.per_second for row in shares["sentiment"][0] if (row.system, row.load) == (runs.OBSERVA, "c=64")
    )
    curve = runs.open_loop("sentiment", capacity, seconds=max(6.0, seconds))
    sections.append(table("sentiment: open loop, shares of the closed loop's rate", curve, 0.0))
    workers = runs.by_workers("sentiment", (1, 2, 4), seconds=seconds)
    sections.append(table("sentiment: workers (1, 2, 4) on this machine", list(workers.values()), 0.0))
    lengths = runs.by_words("sentiment", (5, 20, 60, 200), seconds=seconds)
    sections.append(table("sentiment: words a text (5, 20, 60, 200), 16 calls at a time", list(lengths.values()), 0.0))
    plots.draw(Path(__file__).parent / "plots", shares, curve, workers, lengths)
    return sections


def _circumstances() -> str:
    models = {
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    }
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("onnxruntime", "tokenizers", "fastapi", "uvicorn", "redis")
    )
    machine = ", ".join(models) or platform.machine()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {psutil.cpu_count()} cores ({machine}), "
        f"{psutil.virtual_memory().total / 1e9:.0f} GB, Python {platform.python_version()}; {libraries}.\n"
        "Server, workers and load generator share the cores. Every peer has the same model file, tokenizer and chunks."
    )


if __name__ == "__main__":
    main()

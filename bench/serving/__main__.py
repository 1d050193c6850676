"""``just bench``: everything, about fifteen minutes; ``just bench quick``: Observa alone, under two."""

import argparse
import platform
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

from bench.serving import plots, runs
from bench.serving.observa import OBSERVA
from bench.serving.record import Record
from bench.serving.report import section
from bench.serving.rivals import PEERS
from bench.serving.systems import ROOT

RESULTS: Final = ROOT / "bench" / "RESULTS.md"
TITLE: Final = "# Observa beside what else one could use"


def main() -> None:
    """Measure, print, and keep what a full run found."""
    parser = argparse.ArgumentParser(prog="just bench", description="How fast answers come, beside the alternatives.")
    parser.add_argument("form", nargs="?", choices=("full", "quick"), default="full")
    parser.add_argument("--parts", default=",".join(runs.PARTS), help=f"some of {', '.join(runs.PARTS)} (default: all)")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma separated; empty: none (default: all)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--resume", action="store_true", help="go on where the last run stopped, or add rounds to it")
    chosen = parser.parse_args()
    if chosen.form == "quick":
        _quick()
        return
    record = Record(anew=not chosen.resume)
    systems = [OBSERVA, *(name for name in chosen.peers.split(",") if name)]
    how = runs.How(record, systems, rounds=chosen.rounds, seconds=chosen.seconds)
    for part in chosen.parts.split(","):
        runs.PARTS[part](how)
    sections = [section(part, record) for part in runs.PARTS if record.rows(part)]
    text = "\n\n".join([TITLE, _circumstances(), *sections])
    print(text)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    plots.draw(record)
    print(f"\nwritten: {RESULTS.relative_to(ROOT)} and {plots.FOLDER.relative_to(ROOT)}")


def _quick() -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder) / "bench.jsonl")
        how = runs.How(record, [OBSERVA], rounds=1, seconds=3.0)
        for model in ("echo", "sentiment-linear", "sentiment"):
            runs.closed(model, how, (1, 64))
            print(f"\n{section(model, record)}\n")


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
        "Server, workers and load generator share the cores. Every peer has the same model file, tokenizer and\n"
        "chunks, and two processes for the model; where it can batch, it does. 32 texts get the same label from all.\n"
        "The last column is the machine's load average before each measurement."
    )


if __name__ == "__main__":
    main()

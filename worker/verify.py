"""``python -m worker.verify FOLDER``: may this version be served? A table for people, ``--json`` for programs.

The work is done in a second process with bounds on memory and time: a graph that kills ONNX Runtime, or never ends, is
refused like any other.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson

from broker.errors import ModelRefusedError
from broker.labelled_arguments import add_arguments as add_file_arguments
from broker.labelled_arguments import asked
from broker.lifetime import end_with
from broker.tables import Asked
from worker.judging import Labelled, judge
from worker.models import load_version
from worker.soundness import STRANGERS, Check, examine

MOST_MEMORY: Final = 16 << 30  # bytes of addresses, of which most are never touched
MOST_CPU_S: Final = 600
MOST_S: Final = 1800  # by the clock: a process that sleeps uses no processor
INSIDE: Final = "OBSERVA_VERIFYING"  # its value is the process that asks


def main() -> int:
    """Verify and return the exit status: 0 sound, 1 refused, 2 when there is nothing to verify."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    chosen = _arguments()
    if not chosen.folder.is_dir():
        print(f"observa: {chosen.folder} is no folder; name one as models/NAME/VERSION", file=sys.stderr)  # noqa: T201
        return 2
    if parent := os.environ.get(INSIDE):
        end_with(int(parent))
        _bound()
        for check in _tried(chosen):
            print(orjson.dumps(list(check)).decode(), flush=True)  # noqa: T201
        return 0
    checks = verify(chosen.folder, chosen.tolerance, _labelled(chosen))
    for line in (orjson.dumps(check._asdict()).decode() for check in checks) if chosen.json else table(checks):
        print(line)  # noqa: T201
    return 0 if all(check.passed for check in checks) else 1


def verify(folder: Path, tolerance: float = STRANGERS, labelled: Labelled | None = None) -> list[Check]:
    """Examine *folder* in a process of its own; its death is one more check that failed."""
    command = [sys.executable, "-m", "worker.verify", str(folder.absolute()), "--tolerance", str(tolerance)]
    if labelled:
        command += [f"--texts={labelled.file.absolute()}", f"--asked={orjson.dumps(labelled.asked).decode()}"]
    try:
        done = subprocess.run(  # noqa: S603 a fixed command
            command,
            cwd=Path(__file__).parents[1],
            env=os.environ | {INSIDE: str(os.getpid())},
            capture_output=True,
            text=True,
            check=False,
            timeout=MOST_S,
        )
    except subprocess.TimeoutExpired:
        return [Check("verifier", f"did not end within {MOST_S} s", "an end", passed=False)]
    checks = [Check(*orjson.loads(line)) for line in done.stdout.splitlines()]
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]
        reason = signal.Signals(-done.returncode).name if done.returncode < 0 else said
        checks.append(Check("verifier", f"died: {reason}", f"{MOST_CPU_S} s, {MOST_MEMORY >> 30} GB", passed=False))
    return checks


def table(checks: list[Check]) -> list[str]:
    """Return the lines of a table and of the verdict."""
    rows = [("", "CHECK", "FOUND", "WANTED")]
    rows += [("ok" if each.passed else "FAILED", each.name, each.found, each.wanted) for each in checks]
    widths = [min(72, max(len(row[column]) for row in rows)) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    failed = [each.name for each in checks if not each.passed]
    return [*lines, f"refused: {', '.join(failed)}" if failed else "sound: it may be served"]


def _tried(chosen: argparse.Namespace) -> Iterator[Check]:
    checks = examine(chosen.folder, chosen.tolerance)
    first = next(checks)
    yield first
    yield from checks
    if first.passed and (labelled := _labelled(chosen)):
        yield judge(load_version(chosen.folder), labelled)


def _labelled(chosen: argparse.Namespace) -> Labelled | None:
    if not chosen.texts:
        return None
    return Labelled(chosen.texts, Asked(**orjson.loads(chosen.asked)) if chosen.asked else asked(chosen))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just verify-model", description="May this version be served?")
    parser.add_argument("folder", type=Path, help="models/NAME/VERSION, or any folder like it")
    parser.add_argument(
        "--tolerance", type=float, default=STRANGERS, help="most that company may change a probability: %(default)s"
    )
    parser.add_argument("--texts", type=Path, metavar="FILE", help="also say how often it is right on these")
    add_file_arguments(parser, label="label")
    parser.add_argument("--asked", help=argparse.SUPPRESS)  # the same, for the second process
    parser.add_argument("--json", action="store_true", help="one line of JSON a check")
    return parser.parse_args()


def _bound() -> None:
    for kind, most in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_CPU, MOST_CPU_S)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ModelRefusedError as error:
        sys.exit(f"observa: {error}")

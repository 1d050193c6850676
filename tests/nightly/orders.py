"""Run the tests in another order each time, then every file alone, and name what failed."""

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What kills and measures services is the long form of something else.
ELSEWHERE = ("tests/faults", "tests/ha", "tests/hostile", "tests/live", "tests/trainer", "tests/compose")


def passes(arguments: Sequence[str]) -> bool:
    """Run pytest; print the end of what it says where something fails. No test in a file is no failure."""
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if passed := said.returncode in {0, 5}:
        return passed
    print(f"FAILED pytest {' '.join(arguments)}\n{said.stdout[-3000:]}", flush=True)
    return False


def main(times: int) -> int:
    """Run all *times* times in random orders and *times* times file by file; return 1 where something failed."""
    ignored = [f"--ignore={folder}" for folder in ELSEWHERE]
    seeds = [random.SystemRandom().randrange(2**32) for _ in range(times)]
    whole = [
        passes([*ignored, "--numprocesses", "auto", "--dist", "loadfile", f"--randomly-seed={seed}"]) for seed in seeds
    ]
    print(f"figure random order: passed {sum(whole)} of {times}", flush=True)
    files = [str(file.relative_to(ROOT)) for file in sorted(ROOT.glob("tests/**/test_*.py"))]
    chosen = [file for file in files if not file.startswith(ELSEWHERE)]
    alone = [passes([file, f"--randomly-seed={seed}"]) for seed in seeds for file in chosen]
    print(f"figure each file alone: passed {sum(alone)} of {len(alone)}", flush=True)
    return 0 if all(whole + alone) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

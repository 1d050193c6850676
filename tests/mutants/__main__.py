"""Break the code in one small place at a time, and count how often its tests notice."""

import argparse
import random
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2

from tests.mutants.mutations import Mutation, mutations_of

ROOT = Path(__file__).resolve().parents[2]
AREAS = tomllib.loads(Path(__file__).with_name("areas.toml").read_text())
KNOWN = tomllib.loads(Path(__file__).with_name("known.toml").read_text())["mutation"]


@dataclass(frozen=True)
class Area:
    """Files that are changed, and the tests that must notice."""

    name: str
    files: tuple[Path, ...]
    tests: tuple[str, ...]


def areas() -> list[Area]:
    """Return the areas of ``areas.toml``.

    Raises:
        FileNotFoundError: a pattern there names no file.

    """
    return [Area(name, tuple(_files(area["files"])), tuple(area["tests"])) for name, area in AREAS.items()]


def _files(patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        found = sorted(ROOT.glob(pattern))
        if not found:
            raise FileNotFoundError(pattern)
        yield from (path.relative_to(ROOT) for path in found)


def notices(tree: Path, tests: Iterable[str], timeout_s: float) -> bool:
    """Return whether *tests* fail in *tree*, or do not end in time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *tests]
    try:
        said = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return True
    if said.returncode not in {0, 1, 2}:  # passed, failed, or not even imported
        sys.exit(f"pytest could not be run in {tree}:\n{said.stdout[-2000:]}{said.stderr[-2000:]}")
    return said.returncode != 0


def copied(tree: Path) -> None:
    """Copy what git knows of this checkout into *tree*."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(source, tree / name)


def dies(tree: Path, file: Path, text: str, tests: Iterable[str], timeout_s: float) -> bool:
    """Return whether *tests* notice that *file* holds *text* instead of what it should."""
    original = (tree / file).read_text()
    (tree / file).write_text(text)
    try:
        return notices(tree, tests, timeout_s)
    finally:
        (tree / file).write_text(original)


def run_known(tree: Path, timeout_s: float) -> list[str]:
    """Make each change of ``known.toml``; return what those say that no test noticed."""
    survived = []
    for known in KNOWN:
        original = (tree / known["file"]).read_text()
        text = original.replace(known["old"], known["new"])
        died = dies(tree, Path(known["file"]), text, known["tests"], timeout_s)
        print(f"{'died    ' if died else 'SURVIVED'} {known['file']}: {known['says']}", flush=True)
        if not died:
            survived.append(known["says"])
    return survived


def sampled(chosen: list[Area], seed: int) -> Iterator[tuple[Area, Mutation]]:
    """Yield changes in an order that *seed* decides: an area in turn, then any of its changes."""
    chance = random.Random(seed)
    waiting = {area: [each for file in area.files for each in mutations_of(ROOT / file)] for area in chosen}
    for mutations in waiting.values():
        chance.shuffle(mutations)
    while any(waiting.values()):
        for area, mutations in waiting.items():
            if mutations:
                yield area, mutations.pop()


def main() -> int:
    """Run; return 1 where a known change survived."""
    parser = argparse.ArgumentParser(prog="just mutants", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200, help="after which no further change is tried")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--area", choices=AREAS, action="append", help="these only; may be repeated")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    end = time.monotonic() + asked.seconds
    chosen = [area for area in areas() if area.name in (asked.area or AREAS)]
    with tempfile.TemporaryDirectory(prefix="observa-mutants-") as folder:
        tree = Path(folder)
        copied(tree)
        limits = {area: _limit(tree, area) for area in chosen}
        survived = run_known(tree, max(limits.values()))
        tried = died = 0
        for area, mutation in sampled(chosen, asked.seed):
            if time.monotonic() > end:
                break
            text, file = mutation.file.read_text(), mutation.file.relative_to(ROOT)
            noticed = dies(tree, file, mutation.made_in(text), area.tests, limits[area])
            tried, died = tried + 1, died + noticed
            where = f"{file}:{mutation.line(text)}"
            print(f"{'died    ' if noticed else 'SURVIVED'} {where}: {mutation.shown(text)}", flush=True)
    share = f"{died / tried:.0%}" if tried else "none tried"
    print(f"figure mutants: died {died} of {tried} ({share}), known {len(KNOWN) - len(survived)} of {len(KNOWN)}")
    return 1 if survived else 0


def _limit(tree: Path, area: Area) -> float:
    """Return how many seconds the tests of *area* may take: they are run once as they are, and must pass."""
    began = time.monotonic()
    if notices(tree, area.tests, 900):
        sys.exit(f"the tests of {area.name} fail before anything is changed; run: just test {' '.join(area.tests)}")
    took = time.monotonic() - began
    print(f"{area.name}: its tests take {took:.0f} s", flush=True)
    return 2 * took + 60


if __name__ == "__main__":
    sys.exit(main())

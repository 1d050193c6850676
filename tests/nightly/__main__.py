"""Run every long form, one after the other, and print one table: what passed, and its figures beside the last run's."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "reports" / "nightly.json"
LONGEST_S = 4 * 3600.0  # of one form; longer means that it hangs
FORMS = {
    "orders": ["just", "orders", "10"],
    "faults": ["just", "faults"],
    "failover": ["just", "failover"],
    "soak": ["just", "soak", "10"],
    "swaps": ["just", "swaps", "60"],
    "compose": ["just", "compose-test"],
    "fuzz": ["just", "fuzz", "10"],
    "bench-drift": ["just", "bench-drift"],
    "bench-flat": ["just", "bench-flat", "10"],
    "mutants": ["just", "mutants"],
}
FIGURE = re.compile(r"figure ([^:]+): (.+)")


@dataclass
class Outcome:
    """How one form ended, in how many seconds, and what it measured: name to figure."""

    ended: str  # passed, or FAILED and the exit code
    seconds: float
    figures: dict[str, str] = field(default_factory=dict)


def run(name: str, command: list[str], logs: Path, longest_s: float = LONGEST_S) -> Outcome:
    """Run *command* with its output in a file of *logs*; what fails or hangs is an outcome like any other."""
    began = time.monotonic()
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        form = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            code = form.wait(longest_s)
            ended = "passed" if code == 0 else f"FAILED ({code})"
        except subprocess.TimeoutExpired:
            ended = f"FAILED (ended after {longest_s:.0f} s)"
        finally:
            with suppress(ProcessLookupError):  # what it started ends with it, also after Ctrl-C
                os.killpg(form.pid, signal.SIGKILL)
            form.wait()
    return Outcome(ended, round(time.monotonic() - began, 1), figures_in(log.read_text(errors="replace")))


def figures_in(output: str) -> dict[str, str]:
    """Return the lines that say ``figure NAME: VALUES``; where there is none, the last line that says anything."""
    found = {figure[1]: figure[2].strip() for line in output.splitlines() if (figure := FIGURE.search(line))}
    lines = [line.strip(" =") for line in output.splitlines() if line.strip(" =")]
    return found or ({"": lines[-1]} if lines else {})


def table_of(outcomes: dict[str, Outcome], before: dict[str, Outcome]) -> Table:
    """Return a row for each figure, with that of the run *before* beside it."""
    table = Table("form", "ended", "minutes", "figure", "now", "last run")
    nothing = Outcome("", 0)
    for name, now in outcomes.items():
        last = before.get(name, nothing)
        for number, (figure, said) in enumerate(now.figures.items() or [("", "")]):
            first = (name, now.ended, f"{now.seconds / 60:.1f}") if number == 0 else ("", "", "")
            table.add_row(*first, figure, said, last.figures.get(figure, "-"))
    return table


def remembered(report: Path) -> dict[str, Outcome]:
    """Return the outcomes of the last run, form by form."""
    if not report.exists():
        return {}
    return {name: Outcome(**outcome) for name, outcome in json.loads(report.read_text()).items()}


def main() -> int:
    """Run; return 1 where a form failed."""
    parser = argparse.ArgumentParser(prog="just nightly", description=__doc__)
    parser.add_argument("forms", nargs="*", metavar="FORM", help=f"these only, of {', '.join(FORMS)}")
    chosen = parser.parse_args().forms or list(FORMS)
    if unknown := set(chosen) - FORMS.keys():
        parser.error(f"no form is called {', '.join(sorted(unknown))}; there are {', '.join(FORMS)}")
    logs = REPORT.parent / "nightly"
    logs.mkdir(parents=True, exist_ok=True)
    before = remembered(REPORT)
    outcomes: dict[str, Outcome] = {}
    for name in chosen:
        print(f"{name}: {' '.join(FORMS[name])} > {logs.relative_to(ROOT)}/{name}.log", flush=True)
        outcomes[name] = run(name, FORMS[name], logs)
        print(f"{name}: {outcomes[name].ended} in {outcomes[name].seconds / 60:.1f} min", flush=True)
        known = before | outcomes
        REPORT.write_text(json.dumps({form: asdict(outcome) for form, outcome in known.items()}, indent=1))
    Console(width=None if sys.stdout.isatty() else 160).print(table_of(outcomes, before))
    return 0 if all(outcome.ended == "passed" for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

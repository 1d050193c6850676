"""``tests/compose/run``: see there."""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.compose import images, trial
from tests.compose.engine import Engine, SkippedError, engine
from tests.compose.project import NAME, Project


def main() -> int:
    """Run what was asked for; 0 also when nothing could be tried, after saying why."""
    parser = argparse.ArgumentParser(prog="tests/compose/run")
    parser.add_argument("--quick", action="store_true", help="Redis, a worker and a gateway alone")
    parser.add_argument("--trainer", action="store_true", help="the trainer, too, which takes 3 GB")
    parser.add_argument("--keep", action="store_true", help="leave the stack running until Ctrl-C")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every `finally`
    try:
        with engine() as running, tempfile.TemporaryDirectory(prefix="observa-trial-") as folder:
            trial.say(f"an engine {'of our own' if running.ours else 'that ran already'} answers")
            project = Project(running, Path(folder))
            trial.say(images.have_those_of_others(running, trial.SHORT if chosen.quick else tuple(project.services)))
            _try(project, running, chosen)
    except SkippedError as why:
        print(f"tests/compose: skipped: {why}")
    return 0


def _try(project: Project, running: Engine, chosen: argparse.Namespace) -> None:
    try:
        if chosen.quick:
            trial.quick(project)
        else:
            trial.full(project, with_trainer=chosen.trainer)
        if chosen.keep:
            trial.say(f"running until Ctrl-C: {json.dumps(project.ports)}")
            signal.sigwait({signal.SIGINT})
    except (AssertionError, RuntimeError):
        print(project.compose("ps", "--all"), flush=True)
        print(project.compose("logs", "--tail", "25"), flush=True)
        raise
    finally:
        project.compose("--profile", "*", "down", "--volumes", "--timeout", "5")
        left = running.docker("ps", "--all", "--quiet", "--filter", f"name={NAME}")
        trial.say(f"taken down; containers left: {left or 'none'}")


if __name__ == "__main__":
    sys.exit(main())

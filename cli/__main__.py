"""``python -m cli COMMAND ...``: one line of error and a nonzero status when something is wrong."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from broker.errors import ObservaError
from broker.files import files_told
from broker.settings import load_settings
from cli import (
    alerts,
    canary,
    compare,
    dead,
    demo,
    evaluate,
    feedback,
    forget,
    keys,
    log,
    models,
    predict,
    promote,
    report,
    retrain_on_alert,
    rollback,
    shadow,
)
from cli.settings import CliSettings

COMMANDS = {
    "predict": (predict, "classify texts"),
    "feedback": (feedback, "say what was right"),
    "log": (log, "one line of JSON per request, with its answer and the truth"),
    "evaluate": (evaluate, "score the running service on a labelled file"),
    "alerts": (alerts, "which alarms are on, and why"),
    "report": (report, "a model's last hours as a page; fails where something is wrong"),
    "demo-drift": (demo, "watch real traffic drift, and the alarms it raises"),
    "models": (models, "every version with its metrics, and what it is wanted for"),
    "promote": (promote, "make a version live, once it is verified"),
    "rollback": (rollback, "make the version live that was before"),
    "shadow": (shadow, "let a version answer beside the live one, for nobody but the log"),
    "canary": (canary, "let a version answer a share of the requests"),
    "compare": (compare, "two versions by what they answered"),
    "dead": (dead, "what could not be processed, and another try"),
    "retrain-on-alert": (retrain_on_alert, "train again when an alarm says so, at most once a day"),
    "forget": (forget, "erase what the log holds of one prediction or subject"),
    "keys": (keys, "who may call a gateway that asks for API keys"),
}
MISTAKE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process' exit status."""
    args = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal may know fewer letters
    try:
        with files_told():
            status: int = asyncio.run(COMMANDS[args.command][0].run(args, load_settings(CliSettings)))
        sys.stdout.flush()
    except ObservaError as error:
        print(f"observa {args.command}: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has enough. Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just", description="Talk to a running Observa.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
        module.add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""``python -m trainer train NAME``: see trainer/params.yaml for the names."""

import argparse
import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported

from broker.errors import ObservaError
from trainer.app import train
from trainer.params import read_params
from trainer.settings import TrainerSettings


def main() -> int:
    """Run the command and return its exit status: 1 with one line of reason when the model was not made."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Make a model version.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train", help="train, verify and write the next version")
    command.add_argument("name", help="a model of trainer/params.yaml")
    command.add_argument("--version", help="default: the number after the highest there is")
    command.add_argument("--live", action="store_true", help="point live.json at it; a model's first version always is")
    chosen = parser.parse_args()
    try:
        folder = train(chosen.name, read_params(), TrainerSettings(), version=chosen.version, live=chosen.live)
    except ObservaError as error:
        print(f"trainer: {error}", file=sys.stderr)
        return 1
    print(f"written: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

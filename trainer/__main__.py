"""``python -m trainer train NAME``: see trainer/params.yaml for the names."""

import argparse
import errno
import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported

from broker.errors import ObservaError
from broker.labelled import LabelledFile
from broker.labelled_arguments import add_arguments as add_file_arguments
from broker.labelled_arguments import asked
from broker.settings import load_settings
from trainer import own_reference, report, tracking
from trainer.app import publish, train
from trainer.job import Job
from trainer.params import read_params
from trainer.retrain import retrain
from trainer.settings import TrainerSettings
from trainer.stages import METRICS, STAGES

INTERRUPTED = 130  # as shells say it


def main() -> int:
    """Run the command and return its exit status: 1 with one line of reason when it did not do what it should."""
    chosen = _arguments()
    try:
        settings = load_settings(TrainerSettings)
        chosen.run(chosen, settings)
    except ObservaError as error:
        return _said(str(error), 1)
    except KeyboardInterrupt:
        return _said("interrupted; no version was written, and the same command goes on where it can", INTERRUPTED)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}:
            raise
        where = error.filename or "the trainer's folders"
        return _said(f"{where}: {error.strerror}; no version was written; make room (or allow it) and repeat", 1)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Make a model version.")
    commands = parser.add_subparsers(required=True)
    train_command = commands.add_parser("train", help="train, verify and write the next version")
    train_command.set_defaults(run=_train)
    publish_command = commands.add_parser("publish", help="write what the stages made as the next version")
    publish_command.set_defaults(run=_publish)
    for command in (train_command, publish_command):
        command.add_argument("name", help="a model of trainer/params.yaml")
        command.add_argument("--version", help="default: the number after the highest there is")
        command.add_argument("--live", action="store_true", help="make it live; a model's first version always is")
    for stage in STAGES:
        command = commands.add_parser(stage, help=f"the stage {stage} of a training")
        command.add_argument("name", help="a model of trainer/params.yaml")
        command.set_defaults(run=_stage, stage=stage)
    command = commands.add_parser("benchmark", help="every stage of a training, and no version: prints the metrics")
    command.add_argument("name", help="a model of trainer/params.yaml")
    command.set_defaults(run=_benchmark)
    command = commands.add_parser("report", help="gather the metrics of every model made here")
    command.set_defaults(run=lambda _, settings: report.write(settings))
    command = commands.add_parser("mlflow", help="serve the page of MLflow over the local store")
    command.set_defaults(run=lambda _, settings: tracking.serve(settings))
    command = commands.add_parser("reference", help="a reference profile from a file, as the next version")
    command.add_argument("name", help="a model that is live")
    command.add_argument("file", type=Path, help="CSV, JSON or Parquet, as it is")
    add_file_arguments(command, label=None)
    command.set_defaults(run=_reference)
    command = commands.add_parser("retrain", help="train with the labels that came since, as the next version")
    command.add_argument("name", help="a model that is live")
    command.add_argument("--since", default="90d", help="30d, or a date such as 2026-11-01 (default: %(default)s)")
    command.add_argument("--at-least", type=int, default=50, metavar="N", help="labelled texts (default: %(default)s)")
    command.set_defaults(run=_retrain)
    return parser.parse_args()


def _train(chosen: argparse.Namespace, settings: TrainerSettings) -> None:
    folder = train(chosen.name, read_params(), settings, version=chosen.version, live=chosen.live)
    print(f"written: {folder}")


def _publish(chosen: argparse.Namespace, settings: TrainerSettings) -> None:
    job = Job(chosen.name, read_params(), settings)
    print(f"written: {publish(job, version=chosen.version, live=chosen.live)}")


def _stage(chosen: argparse.Namespace, settings: TrainerSettings) -> None:
    STAGES[chosen.stage](Job(chosen.name, read_params(), settings))


def _benchmark(chosen: argparse.Namespace, settings: TrainerSettings) -> None:
    job = Job(chosen.name, read_params(), settings)
    for stage in STAGES.values():
        stage(job)
    for name, value in job.read(METRICS).items():
        print(f"{name}: {value:.4f}")


def _retrain(chosen: argparse.Namespace, settings: TrainerSettings) -> None:
    folder = retrain(chosen.name, read_params(), settings, since=chosen.since, least=chosen.at_least)
    print(f"written: {folder}")


def _reference(chosen: argparse.Namespace, settings: TrainerSettings) -> None:
    file = LabelledFile(chosen.file, asked(chosen))
    folder, right = own_reference.renew(settings.models, chosen.name, file)
    print("\n".join([*file.said(), *file.list_refused(settings.trainer_build / chosen.name / "refused.txt")]))
    accuracy = "" if right is None else f"; accuracy on the file {right:.3f}"
    print(f"written: {folder}{accuracy}; it is not live yet: just promote {chosen.name} {folder.name}")


def _said(reason: str, status: int) -> int:
    print(f"trainer: {' '.join(reason.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

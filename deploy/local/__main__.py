"""The local stack from the command line; `just` runs it."""

import argparse
import os
import sys
from pathlib import Path

from broker.errors import ObservaError
from broker.files import files_told
from broker.settings import load_settings
from deploy.local.settings import StackSettings


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything")
    commands.add_parser("down", help="stop everything; data stays")
    commands.add_parser("status", help="what runs")
    commands.add_parser("doctor", help="what is wrong, and what to do about it")
    commands.add_parser("redis-url", help="print the server's address with its password")
    commands.add_parser("clean", help="remove the log's data").add_argument("--yes", action="store_true")
    commands.add_parser("backup", help="save the log in one file").add_argument("file", type=Path, nargs="?")
    commands.add_parser("restore", help="put a saved log into an empty data folder").add_argument("file", type=Path)
    commands.add_parser("scale", help="change the number of workers").add_argument("count", type=int)
    auto = commands.add_parser("autoscale", help="keep the number of workers at what is asked of them")
    auto.add_argument("least", type=int, metavar="MIN")
    auto.add_argument("most", type=int, metavar="MAX")
    auto.add_argument("--every", type=float, default=5.0, metavar="S", help="between two looks (default: 5)")
    auto.add_argument(
        "--settle",
        type=float,
        default=60.0,
        metavar="S",
        help="fewer must do for so long before there are (default: 60)",
    )
    log = commands.add_parser("logs", help="show a service's log, or all")
    log.add_argument("service", nargs="?")
    log.add_argument("-f", "--follow", action="store_true")
    commands.add_parser("redis", help="run a Redis command").add_argument("words", nargs=argparse.REMAINDER)
    return parser.parse_args()


def _run(arguments: argparse.Namespace, settings: StackSettings) -> int:
    """Imports what the command needs, as the supervisor's libraries take a third of a second."""
    match arguments.command:
        case "redis-url":
            print(settings.url_with_password)
        case "redis":
            from deploy.local import redis_command  # noqa: PLC0415

            redis_command.run(settings, arguments.words or ["PING"])
        case "logs":
            from deploy.local import logs  # noqa: PLC0415

            logs.show(settings, arguments.service, follow=arguments.follow)
        case "status":
            from deploy.local.status import status  # noqa: PLC0415

            return status(settings)
        case "doctor":
            from deploy.local.doctor import doctor  # noqa: PLC0415

            return doctor(settings)
        case _:
            _change(arguments, settings)
    return 0


def _change(arguments: argparse.Namespace, settings: StackSettings) -> None:
    from deploy.local import clean, scale, stack  # noqa: PLC0415

    match arguments.command:
        case "up":
            stack.up(settings)
        case "down":
            stack.down(settings)
        case "clean":
            clean.clean(settings, yes=arguments.yes)
        case "scale":
            scale.scale(settings, arguments.count)
        case "autoscale":
            from deploy.local import autoscale  # noqa: PLC0415

            bounds = autoscale.Bounds(arguments.least, arguments.most, arguments.every, arguments.settle)
            autoscale.autoscale(settings, bounds)
        case "backup" | "restore":
            _keep(arguments, settings)


def _keep(arguments: argparse.Namespace, settings: StackSettings) -> None:
    from deploy.local import backup  # noqa: PLC0415

    if arguments.command == "backup":
        path = backup.backup(settings, arguments.file)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB. It holds texts of requests; keep it as you keep those.")
        return
    manifest = backup.restore(settings, arguments.file)
    print(f"The log of {manifest['made']} is in {settings.redis_dir}. Go on with: just up")
    for name in backup.changed_pointers(settings, manifest):
        print(f"  {name}: another version is live now than then; models/{name}/live.json was: {manifest['live'][name]}")


def main() -> int:
    """Run one command; a person's mistake is one line and exit code 2."""
    arguments = _arguments()
    try:
        with files_told():
            return _run(arguments, load_settings(StackSettings))
    except ObservaError as error:
        print(f"observa {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has enough. Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())

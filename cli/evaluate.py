"""``evaluate``: send a labelled file through the running service and score the answers."""

import argparse
import asyncio
import re
import secrets
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from broker.addresses import without_login
from broker.labelled import LabelledFile
from broker.labelled_arguments import add_arguments as add_file_arguments
from broker.labelled_arguments import asked
from cli.api import connected, predict_path
from cli.arguments import add_model, name, positive
from cli.monitor import Counted, counted
from cli.scorecard import Scorecard, make_room, write_metrics
from cli.scores import Scores, score
from cli.sending import Sender
from cli.settings import CliSettings
from cli.terminal import note

EXACT = 1e-9  # both sides divide the same two counts


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``evaluate``."""
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV, JSON or Parquet, as it is")
    add_model(parser)
    parser.add_argument("--version", type=name, help="evaluate this version (default: the live one)")
    add_file_arguments(parser, label="true_sentiment")
    parser.add_argument("--concurrency", type=positive, default=8, metavar="N", help="calls at a time (default: 8)")
    parser.add_argument("--run", type=_run_id, metavar="ID", help="go on with a run of this file that was stopped")
    parser.add_argument("--output", type=Path, default=Path("reports/metrics.json"), help="default: %(default)s")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Evaluate; 0 when every row that is used was answered, 1 otherwise."""
    model = getattr(args, "model", settings.model)
    file = LabelledFile(args.file, asked(args))
    make_room(args.output)
    run_id = args.run or f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    async with connected(settings) as gateway:
        labels = await gateway.labels(model, args.version)
        rows = tuple(file.rows(labels))
        listed = file.list_refused(args.output.with_suffix(".refused.txt"))
        sender = Sender(gateway, predict_path(model, args.version), run_id)
        began = time.monotonic()
        with _progress(len(rows), run_id) as advance:
            outcomes, call_ms = await sender.send_all(rows, args.concurrency, advance)
        duration_s = time.monotonic() - began
    scores = score([(each.row.label, each.prediction["label"]) for each in outcomes if each.prediction], labels)
    monitor = await counted(settings.monitor, model, run_id, scores.count)
    card = Scorecard(run_id, model, file, outcomes, scores, call_ms, duration_s, monitor)
    write_metrics(args.output, card.document())
    print("\n".join([*card.lines(), "", *listed, f"run {run_id}, kept in {args.output}"]))
    _compare(scores, monitor, settings.monitor)
    return int(bool(card.failed))


def _run_id(text: str) -> str:
    if not re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no run: it was printed as YYYYMMDDTHHMMSSZ-XXXXXX")
    return text


@contextmanager
def _progress(total: int, run_id: str) -> Iterator[Callable[[int], object]]:
    """Show how many of *total* texts are answered; where Ctrl-C ends it, say so and how to go on."""
    answered = 0

    def advance(count: int) -> None:
        nonlocal answered
        answered += count
        progress.advance(task, count)

    screen = Console(stderr=True)
    shown = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("sending", total=total)
        try:
            yield advance
        except asyncio.CancelledError:
            progress.stop()
            note(f"stopped: {answered} of {total} texts are answered, and on the log as run {run_id}")
            kept = "as long as answers are kept (OBSERVA_ANSWER_RETENTION_S)"
            note(f"to go on, {kept}, and count none twice: the same command with --run {run_id}")
            raise


def _compare(scores: Scores, monitor: Counted | None, url: str) -> None:
    """Warn where the monitor did not count what we saw: the two must agree to the last text."""
    if monitor is None:
        note(f"no monitor answers at {without_login(url)}, so its figure is not compared; see OBSERVA_MONITOR_URL")
    elif monitor["count"] != scores.count:
        note(f"warning: the monitor counted {monitor['count']} of {scores.count} texts so far; is it running behind?")
    elif abs((monitor["accuracy"] or 0) - (scores.accuracy or 0)) > EXACT:
        note(f"warning: the monitor reports {monitor['accuracy']}, the answers give {scores.accuracy}")

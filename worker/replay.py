"""``python -m worker.replay MODEL --from T --to T --version V``: what would this version have answered?"""

import argparse
import asyncio
import os
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from redis.exceptions import RedisError

from broker.connection import check_server, connect
from broker.errors import BrokerUnavailableError, ObservaError
from broker.manifest import NAME_PATTERN
from broker.printing import json_text
from broker.ranges import Past, archive_of
from broker.settings import load_settings
from broker.store import store_of
from broker.streams import Tag
from worker.models import Loaded, load_version
from worker.replay_compare import Comparison
from worker.replaying import Range, Replay, Said, Spent
from worker.settings import WorkerSettings

EQUAL, DIFFERENT, MISTAKE, INTERRUPTED = 0, 1, 2, 130
UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
AGAIN_S: Final = 0.2  # between two looks of the progress line


def main() -> int:
    """Run the command; 1 where the same version gives another label, 2 for a mistake of the person who gave it."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    chosen = _arguments()
    try:
        os.nice(10)  # those who answer callers come first
        return asyncio.run(run(chosen, load_settings(WorkerSettings)))
    except ObservaError as error:
        print(f"observa replay: {error}", file=sys.stderr)  # noqa: T201 - for a person
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED


async def run(chosen: argparse.Namespace, settings: WorkerSettings) -> int:
    """Replay every shard and say what was found.

    Raises:
        ObservaError: the range is empty or holds nothing, the version cannot be had, texts are not kept.

    """
    settings.need_texts("just replay")
    if chosen.source == "archive" and settings.archive is None:
        raise ObservaError("there is no archive; set OBSERVA_ARCHIVE, or replay the log: --source log")
    now_ms = int(time.time() * 1000)
    first_ms, last_ms = (_at(moment, now_ms) for moment in (chosen.since, chosen.until))
    if first_ms >= last_ms:
        raise ObservaError("--from is not before --to; name an earlier time")
    loaded = _loaded(settings, chosen.model, chosen.version)
    redis = connect(settings, "replay")
    run_id, comparison, spent = secrets.token_hex(4), Comparison(chosen.version), Spent()
    try:
        await check_server(redis, settings)
        archive = None if chosen.source == "log" else archive_of(settings)
        past = Past(None if chosen.source == "archive" else redis, archive)
        for shard in range(settings.shards):
            wanted = Range(Tag(chosen.model, shard), first_ms, last_ms, chosen.speed, chosen.keep)
            await Replay(redis, past, loaded, wanted, run_id, comparison, spent)(_progress(wanted))
    except RedisError as error:
        raise BrokerUnavailableError(f"the log was lost on the way ({error}); run: just doctor") from error
    finally:
        await redis.aclose()
    if not comparison.requests:
        raise ObservaError(f"there is no request of {chosen.model} in that time; just log --since 24h shows some")
    _show(chosen, comparison, spent, Tag(chosen.model).key(f"replay:{run_id}"))
    return DIFFERENT if comparison.differences else EQUAL


def _loaded(settings: WorkerSettings, model: str, version: str) -> Loaded:
    folder = store_of(settings).fetch(model, version, settings.models)
    return load_version(folder)


def _show(chosen: argparse.Namespace, comparison: Comparison, spent: Spent, side_stream: str) -> None:
    speed = {
        "side_stream": side_stream,
        "seconds": round(spent.wall_s, 3),
        "cpu_seconds": round(spent.all_s, 3),
        "inference_cpu_seconds": round(spent.inference_s, 3),
    }
    if chosen.json:
        document = comparison.document() | {"model": chosen.model} | speed
        print(json_text(document, orjson.OPT_INDENT_2))  # noqa: T201 - for a program
        return
    print("\n".join(table(chosen.model, comparison, spent, side_stream)))  # noqa: T201 - for a person


def table(model: str, comparison: Comparison, spent: Spent, side_stream: str) -> list[str]:
    """Return what a person reads."""
    found = comparison
    rate = found.requests / max(spent.wall_s, 1e-9)
    took = f"{spent.wall_s:.1f} s ({rate:.0f} a second, {spent.all_s:.1f} s of CPU)"
    said = [
        f"{found.requests} requests of {model} through version {found.version} in {took}",
        f"  answers compared       {found.compared:>9}",
        f"  same label             {found.agreed:>9}  {_share(found.agreed, found.compared)}",
    ]
    for (version, then, now), count in found.pairs.most_common():
        if then != now:
            said.append(f"    {then} by {version}, now {now:<12} {count:>9}")
    for what, count in (
        ("no label now", found.failed),
        ("no answer known", found.unanswered),
        ("an error then", found.was_error.total()),
        ("unreadable", found.unreadable),
    ):
        if count:
            said.append(f"  {what:<22} {count:>9}")
    if found.differences:
        said.append(
            f"  VERSION {found.version} ITSELF ANSWERED {found.differences} OTHERWISE: {', '.join(found.examples)}"
        )
    elif found.same:
        said.append(
            f"  version {found.version} itself had answered {found.same}: every label is the same, "
            f"confidences differ by {found.furthest:.6f} at most"
        )
    return [*said, f"  results: {side_stream} (for a day)"]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else ""


def _progress(wanted: Range) -> Said:
    """Return what draws how far the replay is, where somebody looks."""
    drawn_s = 0.0

    def said(requests: int, at_ms: int) -> None:
        nonlocal drawn_s
        if sys.stderr.isatty() and time.monotonic() - drawn_s > AGAIN_S:
            drawn_s = time.monotonic()
            share = min(1.0, max(0.0, (at_ms - wanted.first_ms) / (wanted.last_ms - wanted.first_ms)))
            bar = "#" * int(30 * share)
            print(f"\r{wanted.tag} [{bar:<30}] {requests} requests", end="\r", file=sys.stderr, flush=True)  # noqa: T201

    return said


def _at(moment: tuple[bool, int], now_ms: int) -> int:
    ago, ms = moment
    return now_ms - ms if ago else ms


def _moment(text: str) -> tuple[bool, int]:
    """Read a point in time: (counted back from now, milliseconds); an argparse type."""
    if text == "now":
        return True, 0
    if match := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return True, int(match[1]) * UNITS_MS[match[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 90m, 24h, 7d, now or 2026-11-22T21:46:00Z") from None
    return False, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _name(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: lower-case letters, digits, '.', '_' and '-'")
    return text


def _above_zero(kind: type[int] | type[float]) -> Any:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < 1e9:  # noqa: PLR2004 - false for NaN, too
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
        return value

    return read


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="just replay",
        description="Send requests of the past through a version; callers, groups and counts do not notice.",
        allow_abbrev=False,
    )
    ago = "90m, 24h, 7d ago, or a time"
    parser.add_argument("model", type=_name, metavar="MODEL")
    parser.add_argument("--from", dest="since", type=_moment, required=True, metavar="T", help=ago)
    parser.add_argument("--to", dest="until", type=_moment, default=(True, 0), metavar="T", help=f"{ago} (now)")
    parser.add_argument("--version", type=_name, required=True, metavar="V", help="the version that answers")
    parser.add_argument("--speed", type=_above_zero(float), metavar="N", help="times as fast as they came")
    parser.add_argument("--source", choices=("both", "log", "archive"), default="both", help="default: %(default)s")
    parser.add_argument(
        "--keep", type=_above_zero(int), default=100_000, metavar="N", help="results kept in the side stream (100000)"
    )
    parser.add_argument("--json", action="store_true", help="counts as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

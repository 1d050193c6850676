"""``alerts``: which alarms are on, and which were, each with its evidence."""

import argparse
import asyncio
from argparse import ArgumentParser
from collections.abc import Iterable

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.announcements import served_models
from broker.backoff import Backoff
from broker.connection import BLOCK_MS
from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Alert
from broker.manifest import models_in
from broker.printing import escaped, json_text
from broker.streams import Tag
from cli.arguments import add_model, positive
from cli.evidence import Alarm, lines
from cli.reading import Entry, Place, after, oldest, opened
from cli.settings import CliSettings
from cli.terminal import note

Key = tuple[Tag, str]  # an alert's id is unique within its tag

PAGE = 200
ENDED = 10  # ended alarms shown unless asked otherwise


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``alerts``."""
    add_model(parser)
    parser.add_argument("--follow", "-f", action="store_true", help="go on: show each alarm that begins or ends")
    parser.add_argument("--json", action="store_true", help="one line of JSON per alarm, with all of its evidence")
    parser.add_argument("--count", type=positive, default=ENDED, help=f"ended alarms at most (default: {ENDED})")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Show the alarms of one model, or of every model; firing ones first, newest first."""
    async with opened(settings) as redis:
        models = [args.model] if hasattr(args, "model") else await _models(redis, settings)
        tags = [Tag(model, shard) for model in models for shard in range(settings.shards)]
        alarms, positions = await read_alarms(redis, tags)
        show(in_order(alarms.values(), args.count), await now_ms(redis), as_json=args.json)
        if not alarms and not args.follow:
            note(f"no alarm of {', '.join(models) or 'any model'} is on record")
        if args.follow:
            await _follow(redis, positions, alarms, as_json=args.json)
    return 0


async def read_alarms(redis: Redis, tags: list[Tag]) -> tuple[dict[Key, Alarm], dict[Tag, str]]:
    """Return every alarm on record, oldest first, and the last entry that was read of each stream."""
    alarms: dict[Key, Alarm] = {}
    positions = dict.fromkeys(tags, "0-0")
    for tag in tags:
        while page := await oldest(redis, tag.alerts, f"({positions[tag]}", count=PAGE):
            _take(tag, page, alarms)
            positions[tag] = page[-1][0]
    return alarms, positions


def in_order(alarms: Iterable[Alarm], ended: int) -> list[Alarm]:
    """Return the firing alarms, then at most *ended* others, each newest first."""
    newest = sorted(alarms, key=lambda alarm: -alarm.newest_ms)
    over = [alarm for alarm in newest if alarm.ended]
    return [alarm for alarm in newest if not alarm.ended] + over[:ended]


def show(alarms: Iterable[Alarm], at_ms: float, *, as_json: bool) -> None:
    """Print alarms as people read them, or as lines of JSON."""
    for alarm in alarms:
        if as_json:
            print(json_text(alarm.document()), flush=True)
        else:
            print(escaped("\n".join([*lines(alarm, at_ms), ""])), flush=True)


async def now_ms(redis: Redis) -> float:
    """Return Redis' time in milliseconds."""
    seconds, micros = await redis.time()
    return float(int(seconds) * 1000 + int(micros) / 1000)


def _take(tag: Tag, entries: Iterable[Entry], alarms: dict[Key, Alarm]) -> list[Alarm]:
    """Add entries to *alarms*; return those that began or ended with them."""
    changed = {}
    for _, fields in entries:
        try:
            alert = Alert.from_fields(fields)
        except (MalformedEntryError, NewerSchemaError) as error:
            note(f"an alert of {tag} was left out: {error}")
            continue
        key = (tag, alert.alert_id)
        known = alarms.get(key)
        if alert.state == "firing":
            # Written again after a lost reply, or by a replay: the same alarm.
            alarm = Alarm(tag.model, alert, known.ended if known else None)
        else:
            alarm = Alarm(tag.model, known.began if known else alert, alert)
        if alarm != known:
            alarms[key] = changed[key] = alarm
    return list(changed.values())


async def _follow(redis: Redis, positions: dict[Tag, str], alarms: dict[Key, Alarm], *, as_json: bool) -> None:
    backoff, tags, task = Backoff(), {tag.alerts: tag for tag in positions}, asyncio.current_task()
    place = Place({tag.alerts: at for tag, at in positions.items()})
    while not (task and task.cancelling()):  # Python 3.11 may drop a cancellation within a sending; see cli/log.py
        try:
            pages = await after(redis, place, PAGE, BLOCK_MS)
            backoff.reset()
        except (RedisConnectionError, RedisTimeoutError):
            note("the log cannot be read; trying again")
            await backoff.wait()
            continue
        for stream, entries in pages.items():
            place.positions[stream] = entries[-1][0]
            show(_take(tags[stream], entries, alarms), await now_ms(redis), as_json=as_json)
    raise asyncio.CancelledError


async def _models(redis: Redis, settings: CliSettings) -> list[str]:
    return sorted({*models_in(settings.models), *await served_models(redis), settings.model})

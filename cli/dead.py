"""``dead``: what could not be processed, why, and another try."""

import argparse
import re
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import orjson
from redis.asyncio import Redis

from broker.errors import MalformedEntryError, NewerSchemaError, ObservaError
from broker.events import DeadLetter
from broker.log import Log
from broker.streams import Tag, entry_time_ms
from cli.arguments import add_model, positive, tags_of
from cli.reading import newest, oldest, opened, order
from cli.settings import CliSettings
from cli.terminal import columns, note, printable

PAGE = 200
_ENTRY = re.compile(r"^(?:(?P<shard>\d{1,4})/)?(?P<entry>\d{1,15}-\d{1,19})$")


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``dead`` and its three actions; without one it lists."""
    add_model(parser)
    parser.set_defaults(action="list", count=100)
    actions = parser.add_subparsers(dest="action", metavar="list | show | redrive")
    listing = actions.add_parser("list", help="newest last; never shows a text")
    listing.add_argument("--count", type=positive, default=100, help="at most so many (default: 100)")
    showing = actions.add_parser("show", help="everything about one, its text included")
    showing.add_argument("entry", metavar="ENTRY", help="entry id, as list prints it")
    redriving = actions.add_parser("redrive", help="send it again, with a new deadline")
    which = redriving.add_mutually_exclusive_group(required=True)
    which.add_argument("entry", metavar="ENTRY", nargs="?", help="entry id, as list prints it")
    which.add_argument("--all", action="store_true", help="every one that is there now")
    for action in (listing, showing, redriving):
        add_model(action)


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Do the action; 1 where something could not be sent again."""
    tags = tags_of(args, settings)
    async with opened(settings) as redis:
        if args.action == "show":
            return await _show(redis, *_parse(args.entry, tags))
        if args.action == "redrive" and args.all:
            return await _redrive_all(redis, settings, tags)
        if args.action == "redrive":
            return await _redrive(redis, settings, *_parse(args.entry, tags))
        return await _list(redis, tags, args.count)


def _parse(text: str, tags: list[Tag]) -> tuple[Tag, str]:
    match = _ENTRY.match(text)
    if match is None or int(match["shard"] or 0) >= len(tags):
        raise ObservaError(f"{printable(text)} is not an entry id; `just dead list` prints them")
    return tags[int(match["shard"] or 0)], match["entry"]


def _name(tag: Tag, entry_id: str) -> str:
    return f"{tag.shard}/{entry_id}" if tag.shard else entry_id


async def _list(redis: Redis, tags: list[Tag], count: int) -> int:
    found = [
        (order(entry_id), _row(tag, entry_id, fields))
        for tag in tags
        for entry_id, fields in await newest(redis, tag.dead, count=count)
    ]
    total = sum([await redis.xlen(tag.dead) for tag in tags])
    if not found:
        note(f"no dead letters of {tags[0].model}")
        return 0
    rows = [row for _, row in sorted(found, key=lambda item: item[0])[-count:]]
    for line in columns([("ENTRY", "WHEN", "REASON", "DELIVERIES", "WORKER", "ID"), *rows], right=frozenset({3})):
        print(line)
    if total > len(rows):
        note(f"the newest {len(rows)} of {total}; more with: just dead list --count {total}")
    return 0


def _row(tag: Tag, entry_id: str, fields: dict[bytes, bytes]) -> tuple[str, ...]:
    when = datetime.fromtimestamp(entry_time_ms(entry_id) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    try:
        letter = DeadLetter.from_fields(fields)
    except (MalformedEntryError, NewerSchemaError):
        return _name(tag, entry_id), when, "unreadable", "-", "-", "-"
    return (
        _name(tag, entry_id),
        when,
        printable(letter.reason),
        str(letter.deliveries),
        printable(letter.worker),
        printable(letter.id or "-"),
    )


async def _show(redis: Redis, tag: Tag, entry_id: str) -> int:
    found = await oldest(redis, tag.dead, entry_id, entry_id)
    if not found:
        raise ObservaError(f"there is no dead letter {_name(tag, entry_id)} of {tag.model}")
    fields = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found[0][1].items()}
    original = fields.pop("entry", "[]")
    rows = [("entry", _name(tag, entry_id)), *((name, value) for name, value in fields.items())]
    for line in columns([(f"{name}:", printable(value)) for name, value in rows]):
        print(line)
    print("as it was sent:")
    for line in columns([(f"  {name}:", printable(value)) for name, value in _pairs(original)] or [("  gone", "")]):
        print(line)
    return 0


def _pairs(original: str) -> list[tuple[str, str]]:
    try:
        parts = orjson.loads(original)
    except orjson.JSONDecodeError:
        return [("not readable", original)]
    return [(str(name), str(value)) for name, value in zip(parts[::2], parts[1::2], strict=True)] if parts else []


async def _redrive(redis: Redis, settings: CliSettings, tag: Tag, entry_id: str) -> int:
    added = await Log(redis, settings).redrive(tag, entry_id)
    if added is None:
        raise ObservaError(f"{_name(tag, entry_id)} cannot be sent again: it is not there, or its text is gone")
    print(f"{_name(tag, entry_id)} is sent again as {added}")
    return 0


async def _redrive_all(redis: Redis, settings: CliSettings, tags: list[Tag]) -> int:
    log, sent, left = Log(redis, settings), 0, 0
    for tag in tags:
        async for entry_id in _entry_ids(redis, tag):
            if await log.redrive(tag, entry_id) is None:
                left += 1
            else:
                sent += 1
    print(f"{sent} sent again" + (f", {left} could not be: their text is gone" if left else ""))
    return int(left > 0)


async def _entry_ids(redis: Redis, tag: Tag) -> AsyncIterator[str]:
    """Walk the dead letters that are there now; what dies again meanwhile waits for the next call."""
    last = await newest(redis, tag.dead, count=1)
    first = "-"
    while last and (page := await oldest(redis, tag.dead, first, last[0][0], PAGE)):
        for entry_id, _ in page:
            yield entry_id
        first = f"({page[-1][0]}"

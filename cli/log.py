"""``log``: one line of JSON per request, with its answer and, once known, the truth."""

import argparse
import asyncio
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.backoff import Backoff
from broker.connection import BLOCK_MS
from broker.forgetting import ERASED
from broker.printing import json_text
from broker.streams import Tag, entry_time_ms
from cli.arguments import add_model, positive, tags_of
from cli.joined import Joined, Line
from cli.reading import Place, after, newest, opened
from cli.settings import CliSettings
from cli.terminal import note

COUNT = 100
MOST = 100_000  # requests held in memory
REMEMBERED = 10_000  # requests whose label may still come while following
PAGE = 500
CLOCK_STEP_MS = 60_000  # a result may carry an earlier time than its request if the server's clock was set back
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``log``."""
    add_model(parser)
    parser.add_argument("--follow", "-f", action="store_true", help="go on; a later label prints an updated line")
    parser.add_argument("--count", type=positive, help=f"the newest so many (default: {COUNT}; with --since {MOST})")
    parser.add_argument("--since", type=since, help="90s, 10m, 2h, 7d ago, or a time as 2026-11-22T21:46:00Z")


def since(text: str) -> tuple[bool, int]:
    """Read a point in time: (counted back from now, milliseconds); an argparse type."""
    if match := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return True, int(match[1]) * UNITS_MS[match[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 90s, 10m, 2h, 7d or 2026-11-22T21:46:00Z") from None
    return False, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Print the log; with ``--follow`` until it is interrupted."""
    settings.need_texts("just log")
    tags = tags_of(args, settings)
    count = min(args.count or (MOST if args.since else COUNT), MOST)
    async with opened(settings) as redis:
        reader = Reader(redis, tags, count)
        await reader.begin(await _since_ms(redis, args.since))
        while await reader.read(None):
            pass
        if not args.follow:
            _print(reader.joined.lines()[-count:])
            _remark(reader.joined)
            return 0
        _print(reader.joined.news()[-count:])
        await _follow(reader)
    return 0


class Reader:
    """Reads the three streams of each tag side by side into one `Joined`."""

    def __init__(self, redis: Redis, tags: list[Tag], count: int) -> None:
        self.joined = Joined(max(count, REMEMBERED))
        self._redis = redis
        self._tags = tags
        self._count = count
        self._place = Place()

    async def begin(self, since_ms: int) -> None:
        """Find where the newest *count* requests begin, not before *since_ms*."""
        times = sorted([time_ms for tag in self._tags for time_ms in await self._newest(tag, since_ms)])
        first_ms = times[-self._count :][0] if times else since_ms
        for tag in self._tags:
            self._place.positions[tag.requests] = str(max(first_ms - 1, 0))
            early = str(max(first_ms - CLOCK_STEP_MS, 0))
            self._place.positions |= {tag.results: early, tag.feedback: early}

    async def read(self, block_ms: int | None) -> bool:
        """Read one page of each stream; false when the end of all was reached."""
        pages = await after(self._redis, self._place, PAGE, block_ms)
        for tag in self._tags:
            for entry_id, fields in pages.get(tag.requests, ()):
                self.joined.add_request(tag, entry_id, fields)
            for _, fields in pages.get(tag.results, ()):
                self.joined.add_result(fields)
            for _, fields in pages.get(tag.feedback, ()):
                self.joined.add_feedback(fields)
        self._place.positions |= {stream: entries[-1][0] for stream, entries in pages.items()}
        return any(len(entries) == PAGE for entries in pages.values())

    async def _newest(self, tag: Tag, since_ms: int) -> list[int]:
        times: list[int] = []
        last = "+"
        size = min(PAGE, self._count)
        while len(times) < self._count and (page := await newest(self._redis, tag.requests, last, str(since_ms), size)):
            times += [entry_time_ms(entry_id) for entry_id, fields in page if ERASED not in fields]
            last = f"({page[-1][0]}"
        return times


async def _since_ms(redis: Redis, asked: tuple[bool, int] | None) -> int:
    if asked is None:
        return 0
    ago, ms = asked
    seconds, _ = await redis.time()
    return max(int(seconds) * 1000 - ms, 0) if ago else max(ms, 0)


async def _follow(reader: Reader) -> None:
    backoff, told, task = Backoff(), 0, asyncio.current_task()
    while True:
        if task and task.cancelling():
            # redis-py sends under asyncio.wait_for, which on Python 3.11 drops a cancellation when the sending is done
            # by then: Ctrl-C was lost in one of three tries.
            raise asyncio.CancelledError
        try:
            await reader.read(BLOCK_MS)
            backoff.reset()
        except (RedisConnectionError, RedisTimeoutError):
            note("the log cannot be read; trying again")
            await backoff.wait()
        _print(reader.joined.news())
        if reader.joined.forgotten > told:
            told = reader.joined.forgotten
            note(f"{told} requests were forgotten before their result came; they are still in the log")


def _print(lines: Iterable[Line]) -> None:
    for line in lines:
        sys.stdout.write(json_text(line) + "\n")
    sys.stdout.flush()


def _remark(joined: Joined) -> None:
    if joined.unreadable:
        note(f"{joined.unreadable} results or labels were left out: this version of Observa cannot read them")

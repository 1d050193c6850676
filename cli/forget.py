"""``forget``: erase what the log holds of one prediction or of one subject."""

import argparse
from argparse import ArgumentParser
from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.cluster import primaries
from broker.errors import ObservaError
from broker.forgetting import Forgotten, forget, ids_of_subject
from broker.streams import PredictionId
from cli.archived import Archived
from cli.arguments import add_model, positive, tags_of
from cli.reading import opened
from cli.settings import CliSettings
from cli.terminal import note, printable


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``forget``."""
    parser.add_argument(
        "who", metavar="ID|SUBJECT", help="a prediction's id, or the subject that requests were sent with"
    )
    parser.add_argument(
        "--wait", type=positive, default=60, metavar="SECONDS", help="for readers to finish (default: 60)"
    )
    parser.add_argument(
        "--now", action="store_true", help="do not wait; a reader's lag is unknown until it has gone on"
    )
    add_model(parser)


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Erase; 1 where something is still there."""
    async with opened(settings) as redis:
        tags, ids = tags_of(args, settings), set[str]()
        with suppress(ValueError):
            wanted = PredictionId.parse(args.who)
            tags, ids = [wanted.tag], {args.who}
        archived = Archived.of(settings, redis, tags)
        ids = ids or await ids_of_subject(redis, tags, args.who) | await archived.ids_of(args.who)
        if not ids:
            raise ObservaError(
                f"the log holds nothing that {printable(args.who)} sent; "
                "results of older requests no longer say whose they are"
            )
        unwritten = await archived.wait_written(args.wait)
        forgotten = await forget(redis, tags, ids, wait_s=args.wait, now=args.now)
        forgotten.waiting.update(unwritten)  # an archiver that stands still may hold them, and write them later
        await archived.forget(ids, forgotten, args.wait)
        _print(forgotten, len(ids))
        await _rewrite_files(redis, settings)
    return int(bool(forgotten.waiting))


def _print(forgotten: Forgotten, ids: int) -> None:
    print(f"Of {ids} prediction{'s' * (ids != 1)}:")
    for kind, count in sorted(forgotten.erased.items()):
        if count:
            print(f"  {count} erased from {kind}")
    for stream, count in forgotten.waiting.items():
        note(f"{count} in {stream} are still being read; run it again, or with --now (just doctor says who is behind)")


async def _rewrite_files(redis: Redis, settings: CliSettings) -> None:
    try:
        nodes = [await _rewritten(server) for server in await primaries(redis)]
    except RedisError as error:
        note(f"the append-only file could not be rewritten ({error}); it holds the erased entries until it is")
        return
    print("The append-only file is being rewritten; backups made before hold what they held.")
    if set(nodes) != {"1"}:
        note(
            "No command can read the erased entries. Redis keeps their bytes beside up to 100 neighbours, in memory "
            f"and file, until those are trimmed ({settings.text_retention_h:g} h); see docs/operations.md"
        )


async def _rewritten(server: Redis) -> str | None:
    """Begin to rewrite one server's file; return how many entries it keeps beside each other."""
    await server.bgrewriteaof()
    nodes = await server.config_get("stream-node-max-entries")
    return nodes.get("stream-node-max-entries")

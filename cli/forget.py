"""``forget``: erase what the log holds of one prediction or of one subject."""

import argparse
from argparse import ArgumentParser

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.cluster import primaries
from broker.errors import ObservaError
from broker.forgetting import Forgotten, forget, ids_of_subject, tags_on
from broker.manifest import models_in
from broker.streams import PredictionId, Tag
from cli.archived import Archived
from cli.arguments import name, positive
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
    parser.add_argument("--model", type=name, help="look at this model alone (default: at all there are)")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Erase; 1 where something is still there."""
    async with opened(settings) as redis:
        archived = Archived.of(settings, redis)
        try:
            ids = {str(PredictionId.parse(args.who))}
        except ValueError:
            ids = await _ids_of(args, settings, redis, archived)
        tags = sorted({PredictionId.parse(one).tag for one in ids})
        unwritten = await archived.wait_written(tags, args.wait)
        forgotten = await forget(redis, tags, ids, wait_s=args.wait, now=args.now)
        forgotten.waiting.update(unwritten)  # an archiver that stands still may hold them, and write them later
        await archived.forget(tags, ids, forgotten, args.wait)
        _print(forgotten, len(ids))
        await _rewrite_files(redis, settings)
    return int(bool(forgotten.waiting))


async def _ids_of(args: argparse.Namespace, settings: CliSettings, redis: Redis, archived: Archived) -> set[str]:
    """Return the ids of all that a subject sent, to whichever model.

    Raises:
        ObservaError: there is nothing of it.

    """
    models = {settings.model, *models_in(settings.models), *archived.models()}
    known = await tags_on(redis) | {Tag(model, shard) for model in models for shard in range(settings.shards)}
    tags = sorted(tag for tag in known if args.model in {None, tag.model})
    ids = await ids_of_subject(redis, tags, args.who) | await archived.ids_of(tags, args.who)
    if not ids:
        where = ", ".join(sorted({tag.model for tag in tags})) or args.model
        raise ObservaError(
            f"the log of {where} holds nothing that {printable(args.who)} sent; "
            "results of older requests no longer say whose they are"
        )
    return ids


def _print(forgotten: Forgotten, ids: int) -> None:
    print(f"Of {ids} prediction{'s' * (ids != 1)}:")
    if not (forgotten.erased.total() or forgotten.waiting):
        print("  nothing was found")
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

"""``shadow``: let a version answer what live versions answer, for nobody but the log."""

import argparse
from argparse import ArgumentParser
from typing import Final

from redis.asyncio import Redis

from broker.changes import change
from broker.errors import ObservaError
from broker.groups import groups_of
from broker.manifest import Pointer
from broker.shadows import close_group
from broker.store import store_of
from broker.streams import Tag, shadow_group
from broker.versions import wanted
from cli.arguments import name
from cli.promote import prepare
from cli.reading import opened
from cli.settings import CliSettings
from cli.terminal import columns, note, percent, printable
from cli.trying import check_not_live, comes_true, live_workers, say_untold, share

WAIT_S: Final = 60.0  # for a worker to load a version


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``shadow``."""
    parser.add_argument("model", type=name, metavar="MODEL")
    parser.add_argument("version", type=name, metavar="VERSION", nargs="?", help="without one: which shadows there are")
    parser.add_argument(
        "sample", type=share, metavar="SAMPLE", nargs="?", default=1.0, help="of the requests, as 0.1 or 10%% (all)"
    )
    parser.add_argument("--off", action="store_true", help="end it; its results stay in the log")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Begin, end or list."""
    if args.off and args.version is None:
        raise ObservaError("name the version that ends: just shadow MODEL VERSION --off")
    async with opened(settings) as redis:
        tags = [Tag(args.model, shard) for shard in range(settings.shards)]
        if args.version is None:
            await _list(redis, args.model, tags)
        elif args.off:
            await _end(redis, settings, args.model, args.version, tags)
        else:
            return await _begin(redis, settings, args, tags)
    return 0


async def _begin(redis: Redis, settings: CliSettings, args: argparse.Namespace, tags: list[Tag]) -> int:
    settings.need_texts("a shadow version")
    store, model, version, sample = store_of(settings), args.model, args.version, args.sample
    seen = await check_not_live(store, model, version)
    await prepare(store, settings, model, version, None, seen)

    def alter(pointer: Pointer) -> Pointer:
        return pointer.model_copy(update={"shadows": pointer.shadows | {version: sample}})

    say_untold(await change(store, redis, model, alter))
    print(f"{model} {version} is a shadow of {percent(sample)} of the requests from now on")
    if not await live_workers(redis, model):
        note(f"no worker serves {model} now; it begins with the next one: just up")
        return 0

    async def is_read_or_refused() -> bool:
        read = [shadow_group(version) in await _groups(redis, tag) for tag in tags]
        return all(read) or all(version in worker.refused for worker in await live_workers(redis, model))

    in_time = await comes_true(is_read_or_refused, WAIT_S)
    refused = [worker.refused[version] for worker in await live_workers(redis, model) if version in worker.refused]
    if refused:
        note(f"refused by {len(refused)}; end it with: just shadow {model} {version} --off: {printable(refused[0])}")
        return 1
    if in_time:
        print(f"see: just compare {model} {seen.version} {version}; end it: just shadow {model} {version} --off")
        return 0
    note(f"no worker has loaded it within {WAIT_S:.0f} s; look at: just logs worker")
    return 1


async def _end(redis: Redis, settings: CliSettings, model: str, version: str, tags: list[Tag]) -> None:
    def alter(pointer: Pointer) -> Pointer:
        return pointer.model_copy(
            update={"shadows": {each: sample for each, sample in pointer.shadows.items() if each != version}}
        )

    store = store_of(settings)
    say_untold(await change(store, redis, model, alter))
    closed = [await close_group(redis, tag, version) for tag in tags]
    print(f"{model} {version} is no shadow {'any more' if any(closed) else '(nor was it one)'}")


async def _list(redis: Redis, model: str, tags: list[Tag]) -> None:
    pointer = await wanted(redis, model)
    if pointer is None or not pointer.shadows:
        note(f"{model} has no shadow; begin one: just shadow {model} VERSION")
        return
    rows = [("VERSION", "SAMPLE", "BEHIND", "LOST")]
    for version, sample in sorted(pointer.shadows.items()):
        behind, lost, group = 0, 0, shadow_group(version)
        for tag in tags:
            behind += (await _groups(redis, tag)).get(group) or 0
            lost += int(await redis.hget(tag.gaps, f"requests/{group}") or 0)
        rows.append((printable(version), percent(sample), f"{behind:,}", f"{lost:,}"))
    print("\n".join(columns(rows, right=frozenset({1, 2, 3}))))


async def _groups(redis: Redis, tag: Tag) -> dict[str, int]:
    """Return how far each group of the requests is behind; what Redis does not know counts as nothing."""
    return {group["name"].decode(): group["lag"] or 0 for group in await groups_of(redis, tag.requests)}

"""``canary``: let a version answer a share of the requests, always those of the same subjects."""

import argparse
import asyncio
from argparse import ArgumentParser
from typing import Final

from redis.asyncio import Redis

from broker.changes import change
from broker.errors import ObservaError
from broker.manifest import Canary, Pointer
from broker.store import store_of
from broker.versions import wanted
from cli.arguments import name
from cli.promote import prepare
from cli.reading import opened
from cli.settings import CliSettings
from cli.terminal import note, percent, printable
from cli.trying import check_not_live, comes_true, end_canary, live_workers, say_untold, share

WAIT_S: Final = 60.0  # for every worker to load a version
GATEWAYS_S: Final = 1.5  # by then every gateway knows it: each looks once a second


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``canary``."""
    parser.add_argument("model", type=name, metavar="MODEL")
    parser.add_argument("version", type=name, metavar="VERSION", nargs="?", help="without one: which canary there is")
    parser.add_argument("share", type=share, metavar="SHARE", nargs="?", help="of the requests, as 0.05 or 5%%")
    parser.add_argument("--off", action="store_true", help="end it: everything goes to the live version")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Begin, change, end or show it."""
    async with opened(settings) as redis:
        if args.off:
            await _end(redis, settings, args)
        elif args.version is None:
            await _show(redis, args.model)
        elif args.share is None or args.share >= 1:
            raise ObservaError(f"say how much of the requests it answers: just canary {args.model} {args.version} 5%")
        else:
            return await _begin(redis, settings, args)
    return 0


async def _begin(redis: Redis, settings: CliSettings, args: argparse.Namespace) -> int:
    store, model, version = store_of(settings), args.model, args.version
    seen = await check_not_live(store, model, version)
    await prepare(store, settings, model, version, None, seen)

    def alter(pointer: Pointer) -> Pointer:
        return pointer.model_copy(update={"canary": Canary(version=version, share=args.share)})

    say_untold(await change(store, redis, model, alter))

    workers = await live_workers(redis, model)

    async def is_served_or_refused() -> bool:
        workers[:] = await live_workers(redis, model)
        return bool(workers) and all(version in {*worker.versions, *worker.refused} for worker in workers)

    if await comes_true(is_served_or_refused, WAIT_S) and all(version in worker.versions for worker in workers):
        await asyncio.sleep(GATEWAYS_S)
        print(f"{model} {version} answers {percent(args.share)} of the requests; end it: just canary {model} --off")
        return 0
    why = next(
        (worker.refused[version] for worker in workers if version in worker.refused), "look at: just logs worker"
    )
    note(f"not every worker has {model} {version}, so the live version answers all; {printable(why)}")
    return 1


async def _end(redis: Redis, settings: CliSettings, args: argparse.Namespace) -> None:
    pointer = await end_canary(redis, settings, args.model, args.version)
    print(f"{args.model} has no canary; {pointer.version} answers everything")


async def _show(redis: Redis, model: str) -> None:
    pointer = await wanted(redis, model)
    if pointer is None or pointer.canary is None:
        note(f"{model} has no canary; begin one: just canary {model} VERSION 5%")
        return
    workers = await live_workers(redis, model)
    ready = sum(pointer.canary.version in worker.versions for worker in workers)
    state = "" if workers and ready == len(workers) else f"; {ready} of {len(workers)} workers have it, so it waits"
    print(f"{pointer.canary.version} answers {percent(pointer.canary.share)} of the requests of {model}{state}")

"""``rollback``: the version that was live before is live again, at once."""

import argparse
import asyncio
from argparse import ArgumentParser

from broker.changes import change
from broker.errors import ObservaError
from broker.manifest import Pointer
from broker.store import store_of
from cli.arguments import name
from cli.pointing import follow_up, perhaps
from cli.settings import CliSettings


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``rollback``."""
    parser.add_argument("model", type=name, metavar="MODEL")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Go back; 1 where workers do not take it."""
    store, model = store_of(settings), args.model
    seen = await asyncio.to_thread(store.pointer, model)
    if seen.previous is None:
        raise ObservaError(f"{model}: no version was live before {seen.version}; choose one with: just models {model}")
    await asyncio.to_thread(store.manifest, model, seen.previous)
    async with perhaps(settings) as redis:
        changed = await change(store, redis, model, Pointer.rolled_back, seen=seen)
        said = f"{model} {changed.pointer.version} is live again (generation {changed.pointer.generation})"
        print(f"{said}; {seen.version} is not, return to it with: just rollback {model}")
        return await follow_up(redis, model, changed)

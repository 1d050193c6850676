"""The gate before a promotion: go, stop and switch the canary off, or wait for more labels."""

import argparse
import asyncio
from argparse import ArgumentParser
from typing import Final

from redis.asyncio import Redis

from broker.errors import ObservaError
from broker.manifest import Pointer
from broker.streams import Tag
from cli import canary
from cli.arguments import positive
from cli.bets import ERROR, MARGIN
from cli.gate import Manner, Verdict, gathered, judge
from cli.settings import CliSettings
from cli.terminal import note
from cli.versus import MOST, Versus, read_on, read_versus

LOOK_S: Final = 3.0  # between two looks with --after
GO, STOPPED, UNDECIDED = 0, 1, 3  # exit status; 2 is a mistake


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the gate of ``promote``."""
    parser.add_argument(
        "--gate",
        action="store_true",
        help=f"only if the labels show that it is not worse by {100 * MARGIN:g} point, with an error of {ERROR:.0%}%; "
        "switches the canary off if they show that it is; else changes nothing",
    )
    parser.add_argument(
        "--after", type=positive, metavar="N", help="the same, but look again until that is clear or N labels have come"
    )


def is_asked(args: argparse.Namespace) -> bool:
    """Tell whether the promotion has a gate."""
    return bool(args.gate or args.after)


async def pass_gate(
    redis: Redis, settings: CliSettings, model: str, version: str, pointer: Pointer, after: int | None
) -> int:
    """Say what the labels show of *version* beside the live one, and return `GO`, `STOPPED` or `UNDECIDED`.

    Raises:
        ObservaError: the version is neither a shadow nor the canary, so there is nothing to look at.

    """
    manner = _manner(model, version, pointer)
    verdict = await _watched(redis, settings, model, (pointer.version, version), manner, after)
    print(f"{model} {version}: {verdict.why}")
    match verdict.decision:
        case "no worse":
            return GO
        case "worse":
            return await _stop(redis, settings, model, version, pointer)
    needed = f"about {verdict.more_labels:,} more labels" if verdict.more_labels else "more labels than one can say"
    print(f"undecided: it stays {_place(version, pointer)}; {needed} are likely needed")
    return UNDECIDED


async def _stop(redis: Redis, settings: CliSettings, model: str, version: str, pointer: Pointer) -> int:
    if pointer.canary and pointer.canary.version == version:
        await canary.end(redis, settings, model, version)
        print(f"rolled back: {version} is no canary any more, {pointer.version} answers everything")
    else:
        print(f"not promoted: {pointer.version} stays live; end the shadow: just shadow {model} {version} --off")
    return STOPPED


async def _watched(  # noqa: PLR0913, PLR0917 - what is compared, how, and how long
    redis: Redis, settings: CliSettings, model: str, versions: tuple[str, str], manner: Manner, after: int | None
) -> Verdict:
    """Return what can be said now; with *after*, what can be said as soon as it is clear or so many labels have come."""
    tags = [Tag(model, shard) for shard in range(settings.shards)]
    versus, said = await read_versus(redis, tags, versions), ""
    while True:
        evidence = gathered(versus, manner)
        verdict, labels = judge(evidence), sum(evidence.right.values())
        if verdict.decision != "undecided" or after is None or labels >= after:
            _warn(versus)
            return verdict
        if verdict.why != said:
            note(f"waiting for labels, {labels:,} of {after:,}: {verdict.why}")
            said = verdict.why
        await asyncio.sleep(LOOK_S)
        await read_on(redis, tags, versus)


def _warn(versus: Versus) -> None:
    if versus.cut:
        note(f"warning: more than {MOST:,} entries; the newest were not looked at")


def _manner(model: str, version: str, pointer: Pointer) -> Manner:
    if version == pointer.version:
        raise ObservaError(f"{model} {version} is live already")
    if version in pointer.shadows:
        return "paired"
    if pointer.canary and pointer.canary.version == version:
        return "apart"
    raise ObservaError(
        f"nothing compares {model} {version} with {pointer.version}, which is live; run first: "
        f"just shadow {model} {version}, or: just canary {model} {version} 5%"
    )


def _place(version: str, pointer: Pointer) -> str:
    is_canary = pointer.canary is not None and pointer.canary.version == version
    return "canary" if is_canary else "a shadow"

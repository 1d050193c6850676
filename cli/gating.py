"""The gate before a promotion: go, stop and switch the canary off, or wait for more labels."""

import argparse
import asyncio
from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from broker.bets import ERROR, MARGIN
from broker.errors import ObservaError
from broker.manifest import Pointer
from broker.streams import Tag
from broker.verdict import Manner, Verdict, gathered, judge
from broker.versus import MOST, read_on, read_versus
from cli.arguments import positive
from cli.settings import CliSettings
from cli.terminal import note
from cli.trying import end_canary

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


@dataclass(frozen=True, slots=True)
class Gate:
    """One version before its promotion, and the *pointer* as it was when that began."""

    redis: Redis
    settings: CliSettings
    model: str
    version: str
    pointer: Pointer

    async def passes(self, after: int | None = None) -> int:
        """Say what the labels show of the version beside the live one; return `GO`, `STOPPED` or `UNDECIDED`.

        Raises:
            ObservaError: the version is neither a shadow nor the canary, so there is nothing to look at.

        """
        verdict = await self._watched(after)
        print(f"{self.model} {self.version}: {verdict.why}")
        if verdict.decision == "no worse":
            return GO
        if verdict.decision == "worse":
            return await self._stop()
        needed = f"about {verdict.more_labels:,} more labels" if verdict.more_labels else "more labels than can be told"
        print(f"undecided: it stays {'the canary' if self._is_canary else 'a shadow'}; {needed} are likely needed")
        return UNDECIDED

    @property
    def _is_canary(self) -> bool:
        return self.pointer.canary is not None and self.pointer.canary.version == self.version

    async def _stop(self) -> int:
        model, version, live = self.model, self.version, self.pointer.version
        if self._is_canary:
            await end_canary(self.redis, self.settings, model, version)
            print(f"rolled back: {version} is no canary any more, {live} answers everything")
        else:
            print(f"not promoted: {live} stays live; end the shadow: just shadow {model} {version} --off")
        return STOPPED

    async def _watched(self, after: int | None) -> Verdict:
        """Return what can be said now; with *after*, as soon as it is clear or so many labels have come."""
        manner = self._manner()
        tags = [Tag(self.model, shard) for shard in range(self.settings.shards)]
        versus, said = await read_versus(self.redis, tags, (self.pointer.version, self.version)), ""
        while True:
            evidence = gathered(versus, manner)
            verdict, labels = judge(evidence), sum(evidence.right.values())
            if verdict.decision != "undecided" or after is None or labels >= after:
                if versus.cut:
                    note(f"warning: more than {MOST:,} entries; the newest were not looked at")
                return verdict
            if verdict.why != said:
                note(f"waiting for labels, {labels:,} of {after:,}: {verdict.why}")
                said = verdict.why
            await asyncio.sleep(LOOK_S)
            await read_on(self.redis, tags, versus)

    def _manner(self) -> Manner:
        if self.version in self.pointer.shadows:
            return "paired"
        if self._is_canary:
            return "apart"
        raise ObservaError(
            f"nothing compares {self.model} {self.version} with {self.pointer.version}, which is live; run first: "
            f"just shadow {self.model} {self.version}, or: just canary {self.model} {self.version} 5%"
        )

"""The snapshot in Redis: state, alerts and positions in one fenced step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from broker.errors import ObservaError
from broker.events import Alert
from broker.scripts import Script
from broker.streams import Tag
from monitor.state import State

ALERTS_KEPT: Final = 1000  # per tag, roughly
HOUR_MS: Final = 3_600_000

_HERE = Path(__file__).parent


class FencedError(ObservaError):
    """Another monitor was started later for the same model; this one must not write any more."""


class OtherLogError(Exception):
    """The log is not the one that was read: it was emptied, lost its end, or is another server's."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a server has of the monitor. *starts*: entries gone from the front of results and feedback, now."""

    epoch: int
    history: str  # of the server that was asked; broker/history.py
    born: str | None
    state: bytes | None
    starts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A snapshot that is kept, so that the log can be counted again from there."""

    born: str  # the mark of its log
    state: bytes


async def read_checkpoints(redis: Redis, tag: Tag) -> list[Checkpoint]:
    """Return what is kept of *tag*, oldest first."""
    kept: Any = await redis.hgetall(checkpoints_key(tag))
    found = []
    for _, value in sorted(kept.items()):
        born, _, state = value.partition(b" ")
        found.append(Checkpoint(born.decode(), state))
    return found


def checkpoints_key(tag: Tag) -> str:
    """Hash: number of a period since 1970 to the log's mark, a space, and the first state written in it."""
    return tag.key("checkpoints")


class Snapshots:
    """The snapshot of one tag, as written by one monitor; every few hours one is kept, the newest *checkpoints*."""

    def __init__(self, redis: Redis, tag: Tag, owner: str, checkpoints: int = 0, checkpoint_h: float = 1.0) -> None:
        self._tag = tag
        self._owner = owner
        self._checkpoints = checkpoints
        self._period_ms = checkpoint_h * HOUR_MS
        self._checkpoint = ""  # the last one that was offered
        self._epoch = 0
        self._history = ""
        self._claim = Script(redis, _HERE / "claim.lua")
        self._write = Script(redis, _HERE / "snapshot.lua")

    @property
    def key(self) -> str:
        """Hash: epoch, owner, born, state, positions."""
        return self._tag.key("monitor")

    async def claim(self) -> Claimed:
        """Become the only writer; called again, stay it on whichever server is there now.

        Raises:
            FencedError: another monitor took over since.
            WrongKeyTypeError: a key holds another type.

        """
        keys = [self.key, self._tag.results, self._tag.feedback]
        outcome, *rest = await self._claim(keys, [self._owner, self._epoch])
        if outcome == b"fenced":
            raise self._fenced(rest[0])
        epoch, history, born, state, *starts = rest
        self._epoch, self._history, self._checkpoint = int(epoch), history.decode(), ""
        known = born.decode() if born else None
        return Claimed(self._epoch, self._history, known, state, (int(starts[0]), int(starts[1])))

    async def write(self, state: State, born: str, alerts: Sequence[Alert]) -> None:
        """Write *state* and *alerts*, the last ones it counts; then count the gaps that the script found.

        Raises:
            FencedError: another monitor took over; nothing was written.
            OtherLogError: *born* is not the log's mark, or the server not the one of the claim; nothing was written.
            WrongKeyTypeError: a key holds another type; nothing was written.

        """
        tag, newest_ms = self._tag, max(fold.now_ms for fold in state.folds)
        keys = [self.key, tag.born, tag.results, tag.feedback, tag.alerts, checkpoints_key(tag)]
        period = f"{newest_ms // self._period_ms:012.0f}" if newest_ms and self._checkpoints else ""
        checkpoint = [period if period != self._checkpoint else "", self._checkpoints]
        results, feedback = state.results, state.feedback
        at = [results.position, results.entries_read, feedback.position, feedback.entries_read]
        flat: list[str | int] = []
        for alert in alerts:
            strings = [part for field in alert.to_fields().items() for part in field]
            flat += [len(strings), *strings]
        arguments = [self._epoch, self._owner, born, state.encode(), *at, ALERTS_KEPT, *checkpoint]
        arguments += [state.alerts, len(alerts), *flat, self._history]
        outcome, *rest = await self._write(keys, arguments)
        match outcome:
            case b"other":
                raise OtherLogError
            case b"fenced":
                raise self._fenced(rest[0])
        self._checkpoint = period
        for fold, place in zip(state.folds, rest, strict=True):
            fold.gap += max(0, int(place) - fold.entries_read)
            fold.entries_read = int(place)

    def _fenced(self, owner: bytes) -> FencedError:
        return FencedError(f"another monitor ({owner.decode()}) took over {self._tag}; stop one of the two")

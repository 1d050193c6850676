"""Entries that cannot be counted: how many there were, and which. They stay on the log under their ids."""

import asyncio
import logging
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from broker.events import Alert
    from monitor.columns import Entry
    from monitor.state import State

KEPT: Final = 20  # entries of which the id is known, the newest
FAILED: Final = "failed"  # the reason of an entry that can be read, and that the fold raised at
CROWDED: Final = "crowded"  # the reason of a label whose name would be one too many
MOST: Final = 50  # entries of one page: where more fail, it is not the entries that are wrong

log = logging.getLogger(__name__)


class Aside:
    """How many entries were put aside, by reason, and which were the newest."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.newest: list[list[str]] = []  # entry id, reason

    def put(self, entries: Iterable[tuple[str, str]]) -> None:
        """Put entries aside: id and reason, in stream order."""
        for entry_id, reason in entries:
            self.counts[reason] = self.counts.get(reason, 0) + 1
            self.newest = [*self.newest[1 - KEPT :], [entry_id, reason]]

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [self.counts, self.newest]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        self.counts, self.newest = state


async def fold_carefully(state: "State", stream: str, entries: "Sequence[Entry]", most: int = MOST) -> "list[Alert]":
    """Fold *entries*; one that the fold raises at is put aside, and the others count as if it had not been there.

    Raises:
        Exception: what the fold raised at one more than *most* entries.

    """
    await asyncio.sleep(0)  # copies take milliseconds each: others come in between
    before = state.keep(stream)
    try:
        return state.fold_of(stream).fold(entries)
    except Exception as error:
        state.put_back(stream, before)
        if len(entries) == 1:
            if not most:
                raise
            entry_id = entries[0][0].decode()
            state.fold_of(stream).skip(entry_id)
            log.error("entry %s of %s is put aside: %s", entry_id, stream, place_of(error))  # noqa: TRY400 no text
            return []
    failed = state.fold_of(stream).aside.counts.get(FAILED, 0)
    half = len(entries) // 2
    alerts = await fold_carefully(state, stream, entries[:half], most)
    left = most - (state.fold_of(stream).aside.counts.get(FAILED, 0) - failed)
    return alerts + await fold_carefully(state, stream, entries[half:], left)


def place_of(error: BaseException) -> str:
    """Return the kind of *error* and where it was raised; never its message, which may hold what a caller sent."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"

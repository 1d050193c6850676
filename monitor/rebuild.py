"""Counts a log again and says whether the live state is the same: ``python -m monitor.rebuild``.

It begins at the log's first entry while that is there, else at the oldest kept checkpoint that the log reaches back to,
or, if told so, at the archive's first entry. Nothing is written to the log, and the running monitor does not notice.
The live snapshot says up to where each stream had been read; the fold is repeated up to exactly there, so that both
sides know the same entries.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.connection import check_server, connect
from broker.errors import BrokerUnavailableError, ObservaError
from broker.settings import load_settings
from broker.store import store_of
from broker.streams import Tag, entry_time_ms
from monitor.aside import fold_carefully
from monitor.columns import Entry, versions_in
from monitor.feedback import FeedbackFold
from monitor.origins import PAGE, archived, oldest_checkpoint, whole_log
from monitor.panes import DAY_MS, HOUR_MS, MINUTE_MS, RINGS
from monitor.profiles import Profiles
from monitor.results import ResultsFold
from monitor.settings import MonitorSettings
from monitor.state import State, versions_of

PANE_MS: Final = dict(zip(RINGS, (MINUTE_MS, HOUR_MS, DAY_MS), strict=True))
SHOWN: Final = 12  # differences printed
EQUAL, DIFFERENT, MISTAKE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Range:
    """Which entries of one stream were counted again."""

    stream: str
    first: str | None  # entry ids; None: there was no entry up to the live position
    last: str
    entries: int
    missing: int  # entries the live state has seen that are no longer in the log


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One shard, counted twice."""

    tag: Tag
    ranges: tuple[Range, ...]
    other_logs: int  # how often the live state went on with another log: what that held cannot be read again
    checkpoint_ms: int | None = None  # of the newest entry of the checkpoint that it began with
    differences: list[str] = field(default_factory=list)  # "place: live ..., rebuilt ..."

    @property
    def whole(self) -> bool:
        """Whether every entry since its beginning that the live state has seen could be read again."""
        lost = self.other_logs and self.checkpoint_ms is None
        return not lost and all(not part.missing for part in self.ranges)


async def rebuild(redis: Redis, settings: MonitorSettings, tag: Tag, *, archive: bool = False) -> Rebuilt | None:
    """Count the log of *tag* again up to the live state's position; None where no monitor has left a state.

    Raises:
        MalformedEntryError, NewerSchemaError: the live state cannot be read.
        SettingsError: there is no archive to read.

    """
    profiles = Profiles(settings.models / tag.model, settings.rules, store_of(settings))
    stored: Any = await redis.hmget(tag.key("monitor"), ["state", "born"])
    if stored[0] is None:
        return None

    async def decoded(snapshot: bytes) -> State:
        await profiles.load(versions_of(snapshot))
        state = State(settings.rules, profiles)
        state.decode(snapshot)
        return state

    live, born = await decoded(stored[0]), stored[1].decode()
    checkpoint = None
    if not archive and not await whole_log(redis, tag):
        checkpoint = await oldest_checkpoint(redis, tag, born, decoded)
    again = checkpoint or State(settings.rules, profiles)
    began_ms = max(fold.now_ms for fold in again.folds) if checkpoint else None
    ranges = []
    for kind, known in zip(("results", "feedback"), live.folds, strict=True):
        pages = archived(settings, tag, kind, born, known.position) if archive else iter(())
        ranges.append(await _fold(redis, tag, kind, known, again, profiles, pages))
    whole = Rebuilt(tag, tuple(ranges), live.other_logs, began_ms)
    first, second = _comparable(live), _comparable(again)
    if not whole.whole:
        since = [entry_time_ms(part.first) if part.first else None for part in ranges]
        first, second = _covered(first, since), _covered(second, since)
    return replace(whole, differences=differences(first, second))


async def _fold(  # noqa: PLR0913, PLR0917 both sides of one stream
    redis: Redis,
    tag: Tag,
    stream: str,
    live: ResultsFold | FeedbackFold,
    into: State,
    profiles: Profiles,
    pages: Iterator[Sequence[Entry]],
) -> Range:
    """Fold *pages*, then *stream* from where those or a checkpoint end, up to where *live* stands."""
    first, last, count = None, live.position, 0
    begun = into.fold_of(stream)
    known = max(0, begun.entries_read - begun.gap)
    while last != "0-0":
        position = into.fold_of(stream).position
        start = "-" if position == "0-0" else f"({position}"
        entries: Any = next(pages, None) or await redis.xrange(tag.key(stream), start, last, PAGE)
        if not entries:
            break
        await profiles.load(versions_in(entries))
        into.alerts += len(await fold_carefully(into, stream, entries, len(entries)))
        first = first or entries[0][0].decode()
        count += len(entries)
    # What was gone before there was a monitor, and gaps, are in `entries_read` too: they were never counted.
    missing = max(0, live.entries_read - live.gap - count - known)
    return Range(stream, first, last, count, missing)


def _comparable(state: State) -> dict[str, Any]:
    """Return the state without what only the live run can know: places in the stream and gaps."""
    plain: dict[str, Any] = orjson.loads(state.encode())
    plain.pop("other_logs")
    for name in ("results", "feedback"):
        for only_live in ("position", "entries_read", "gap"):
            plain[name].pop(only_live)
    return plain


def _covered(plain: dict[str, Any], since_ms: list[int | None]) -> dict[str, Any]:
    """Return only the panes that began after the first entry of their stream: these must be equal in any case."""
    return {
        name: {} if first is None else {place: pane for place, pane in _panes(plain[name], name) if pane[0] > first}
        for name, first in zip(("results", "feedback"), since_ms, strict=True)
    }


def _panes(value: Any, place: str) -> Iterator[tuple[str, tuple[int, Any]]]:
    """Yield the place of every pane within *value*, with its first millisecond and its counts."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from _panes(part, f"{place}[{index}]")
    if isinstance(value, dict):
        for key, part in value.items():
            if key in PANE_MS:
                yield from ((f"{place}.{key}.{at}", (int(at) * PANE_MS[key], pane)) for at, pane in part.items())
            else:
                yield from _panes(part, f"{place}.{key}")


def differences(live: Any, again: Any, place: str = "") -> list[str]:
    """Return where two plain values differ, as lines."""
    if isinstance(live, dict) and isinstance(again, dict):
        return [
            line
            for key in sorted(live.keys() | again.keys())
            for line in differences(live.get(key), again.get(key), f"{place}.{key}" if place else key)
        ]
    if isinstance(live, list) and isinstance(again, list) and len(live) == len(again):
        return [
            line
            for index, (left, right) in enumerate(zip(live, again, strict=True))
            for line in differences(left, right, f"{place}[{index}]")
        ]
    return [] if live == again else [f"{place}: live {_short(live)}, rebuilt {_short(again)}"]


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a line of a terminal


def lines(found: Rebuilt) -> list[str]:
    """Return what a person reads about one shard."""
    said = [str(found.tag)]
    if found.checkpoint_ms is not None:
        said.append(f"  from the checkpoint of {_time(found.checkpoint_ms)}, the oldest that the log reaches back to")
    for part in found.ranges:
        since = f"from {_when(part.first)} " if part.first else ""
        gone = f"; {part.missing} others are no longer there" if part.missing else ""
        said.append(f"  {part.stream}: {part.entries} entries {since}to {part.last}{gone}")
    if found.other_logs and found.checkpoint_ms is None:
        said.append(f"  {found.other_logs} logs before this one were lost; their entries cannot be counted again")
    what = "the live state" if found.whole else "the live state in every minute and hour that the log still covers"
    if not found.differences:
        return [*said, f"  equal to {what}, bit for bit"]
    said.append(f"  DIFFERS from {what}:")
    more = len(found.differences) - SHOWN
    return [
        *said,
        *(f"    {line}" for line in found.differences[:SHOWN]),
        *([f"    and {more} more"] if more > 0 else []),
    ]


def _when(entry_id: str) -> str:
    return f"{_time(entry_time_ms(entry_id))} ({entry_id})"


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"


async def run(settings: MonitorSettings, model: str, *, archive: bool) -> int:
    """Rebuild every shard of *model*, print what was found and return the exit status.

    Raises:
        ObservaError: what only a person can put right.

    """
    redis = connect(settings, "rebuild")
    status = EQUAL
    try:
        await check_server(redis, settings)
        for shard in range(settings.shards):
            found = await rebuild(redis, settings, Tag(model, shard), archive=archive)
            if found is None:
                raise ObservaError(f"no monitor has left a state of {Tag(model, shard)}; start everything: just up")
            print("\n".join(lines(found)))  # noqa: T201 - for a person
            status = DIFFERENT if found.differences else status
    except RedisError as error:
        raise BrokerUnavailableError(f"the log was lost on the way ({error}); run: just up") from error
    finally:
        await redis.aclose()
    return status


def main() -> int:
    """Run the command; a mistake of the person who gave it is one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="just monitor-rebuild", description=run.__doc__, allow_abbrev=False)
    parser.add_argument("--model", help="model name (default: OBSERVA_MODEL)")
    parser.add_argument("--archive", action="store_true", help="begin with what OBSERVA_ARCHIVE holds")
    args = parser.parse_args()
    try:
        settings = load_settings(MonitorSettings)
        return asyncio.run(run(settings, args.model or settings.model, archive=args.archive))
    except ObservaError as error:
        print(f"observa monitor-rebuild: {error}", file=sys.stderr)  # noqa: T201 - for a person
        return MISTAKE


if __name__ == "__main__":
    sys.exit(main())

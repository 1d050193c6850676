"""Shadow groups: readers of the requests that answer nobody, hold nothing back, and leave nothing behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from broker.events import Alert, Result
from broker.groups import groups_of
from broker.inspection import read_alerts
from broker.scripts import Scripts
from broker.shares import is_in_share
from broker.streams import SHADOW, Tag, shadow_group
from broker.versions import wanted

GONE_MS: Final = 600_000  # a group that nobody has read for this long is abandoned
DETECTOR: Final = "shadow"  # of the alert that says so


@dataclass(frozen=True, slots=True)
class Done:
    """An entry that a shadow version has done with; without a result where the entry is not for it."""

    entry_id: str
    result: Result | None = None


def is_in_sample(prediction_id: str, share: float) -> bool:
    """Tell whether shadows that see *share* of the requests see this one: the same ones whichever the version."""
    return is_in_share(prediction_id, share, "shadow")


async def open_group(redis: Redis, tag: Tag, version: str) -> None:
    """Let *version* read what comes from now on, or go on where it was; the alert that it was abandoned ends."""
    await keep_open(redis, tag, version)
    try:
        await redis.xgroup_create(tag.requests, shadow_group(version), id="$", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    else:
        await end_alert(redis, tag, version, "is read again")


async def keep_open(redis: Redis, tag: Tag, version: str) -> None:
    """Say that somebody reads the group; to be repeated well within `GONE_MS`."""
    await redis.set(_reading(tag, version), "read", px=GONE_MS)


async def finish(redis: Redis, tag: Tag, version: str, done: Sequence[Done]) -> list[bool]:
    """Acknowledge *done* and publish its results; true where nobody had before.

    Raises:
        WrongKeyTypeError: a key of ours holds something else; nothing was written.
        redis.exceptions.RedisError: among others, that the server is full; what was not written stays pending.

    """
    rows = [
        {"entry": one.entry_id}
        | ({"result": [part for pair in one.result.to_fields().items() for part in pair]} if one.result else {})
        for one in done
    ]
    finished = await Scripts(redis)("shadow", [tag.requests, tag.results], [shadow_group(version), orjson.dumps(rows)])
    return [bool(first) for first in finished]


async def close_group(redis: Redis, tag: Tag, version: str) -> bool:
    """Remove the group and all that is kept of it, its results excepted; return whether there was one."""
    there: Any = 0
    await redis.unlink(_reading(tag, version))
    await redis.hdel(tag.gaps, f"requests/{shadow_group(version)}")
    try:
        there = await redis.xgroup_destroy(tag.requests, shadow_group(version))
    except ResponseError as error:
        if "key to exist" not in str(error):
            raise
    await end_alert(redis, tag, version, "is no longer wanted")
    return bool(there)


async def remove_abandoned(redis: Redis, tag: Tag, now_ms: int) -> None:
    """Remove groups that are no longer wanted, and with an alert those that are and that nobody reads."""
    groups = [group for group in await groups_of(redis, tag.requests) if group["name"].decode().startswith(SHADOW)]
    pointer = await wanted(redis, tag.model) if groups else None
    if pointer is None:  # Redis was emptied: who reads the store will say what is wanted
        return
    for group in groups:
        version = group["name"].decode().removeprefix(SHADOW)
        if version not in pointer.shadows:
            await close_group(redis, tag, version)
        elif await redis.get(_reading(tag, version)) is None:
            await close_group(redis, tag, version)
            await _write(redis, tag, _abandoned(tag, version, group["lag"] or 0, now_ms))


async def end_alert(redis: Redis, tag: Tag, version: str, why: str) -> None:
    """Say that the alert about *version*'s abandoned group is over, if there is one."""
    newest = next((a for a in await read_alerts(redis, tag) if a.detector == DETECTOR and a.version == version), None)
    if newest and newest.state == "firing":
        seconds, _ = await redis.time()
        summary = f"Shadow version {version} of {tag.model} {why}"
        over = {"state": "resolved", "summary": summary, "at_ms": int(seconds) * 1000}
        await _write(redis, tag, newest.model_copy(update=over))


def _abandoned(tag: Tag, version: str, lag: int, now_ms: int) -> Alert:
    return Alert(
        alert_id=f"{DETECTOR}-{version}-{now_ms}",
        state="firing",
        detector=DETECTOR,
        feature="shadow",
        severity="ticket",
        version=version,
        statistic=float(lag),
        threshold=0.0,
        summary=f"Shadow version {version} of {tag.model} is wanted and no worker reads it: its group was removed",
        evidence={"runbook": "docs/runbooks/ShadowAbandoned.md", "entries_behind": lag},
        at_ms=now_ms,
    )


async def _write(redis: Redis, tag: Tag, alert: Alert) -> None:
    fields: Any = alert.to_fields()
    await redis.xadd(tag.alerts, fields)


def _reading(tag: Tag, version: str) -> str:
    return tag.lease(shadow_group(version))

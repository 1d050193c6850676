"""What in the log and in the model store would stop a service, or already cost something."""

from collections.abc import Iterator
from typing import Any

from redis.asyncio import Redis

from broker.errors import MalformedEntryError, ModelRefusedError, NewerSchemaError
from broker.events import Request
from broker.groups import groups_of
from broker.keys import TABLE
from broker.manifest import live_version, models_in, read_verified
from broker.settings import BrokerSettings
from broker.stored import whole_numbers
from broker.streams import WORKERS, Tag
from broker.waiting import waiting_page
from deploy.local.findings import Finding
from deploy.local.settings import StackSettings

_DAY_S = 86_400


def examine_models(settings: StackSettings) -> Iterator[Finding]:
    """Say of each model whether its live version is whole."""
    names = models_in(settings.models)
    if not names:
        yield Finding("bad", f"models: none in {settings.models}", "set OBSERVA_MODELS, or just train sentiment")
    for name in names:
        try:
            version = live_version(settings.models, name)
            read_verified(settings.models / name / version)
        except ModelRefusedError as error:
            yield Finding("bad", f"model {name}: {error}", "git checkout models, or restore it from where it was made")
        else:
            yield Finding("ok", f"model {name}: version {version} is what its manifest says")


def examine_files(info: dict[str, Any]) -> Iterator[Finding]:
    """Say what the server tells of its files and of its place among other servers."""
    if info.get("loading"):
        yield Finding("warn", "server: is still reading its data", "just doctor, in a while")
    if info.get("role") == "slave":
        yield Finding("bad", "server: is a replica and takes no requests", "set OBSERVA_REDIS_URL to its primary")
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        yield Finding("bad", "server: could not rewrite its append-only file; is the disk full?", "just logs redis")
    if refused := info.get("rejected_connections"):
        yield Finding(
            "warn", f"server: refused {refused} connections, it takes no more at once", "just redis CLIENT LIST"
        )


async def wrong_keys(redis: Redis, tag: Tag) -> list[Finding]:
    """Return the keys of *tag* that hold what Observa did not write; nothing else of the tag can be read then."""
    found = []
    for row in (row for row in TABLE if row.scope == "TAG" and row.is_one):
        key = tag.key(row.name)
        said: Any = await redis.type(key)
        kind = said.decode()
        if kind not in {row.kind, "none"}:
            found.append(
                Finding(
                    "bad", f"{key} holds a {kind} that Observa did not write", f"just redis DEL '{key}', after a look"
                )
            )
    return found


async def losses(redis: Redis, tag: Tag) -> list[Finding]:
    """Return what a reader never got, a group that is missing, and what waits for a newer worker."""
    found = []
    gaps: Any = await redis.hgetall(tag.gaps)
    answered, _ = await _unanswered(redis, tag)
    for reader, count in whole_numbers(gaps).items():
        if reader == f"requests/{WORKERS}":  # Observa trims no request that waits
            lost, how, page = count - answered, "deleted, or the group was moved past them,", "RequestsLost"
        else:
            lost, how, page = count, "trimmed", "LogGap"
        if lost > 0:
            what = f"gap {tag}: {lost} entries were {how} before {reader} had read them"
            found.append(Finding("warn", what, f"docs/runbooks/{page}.md"))
    groups = {group["name"].decode(): group for group in await groups_of(redis, tag.requests)}
    if await redis.exists(tag.requests) and WORKERS not in groups:
        found.append(Finding("warn", f"group {WORKERS} of {tag} is missing; a worker makes it", "just logs worker"))
    if groups.get(WORKERS, {}).get("pending") and await _is_newer(redis, tag):
        what = f"requests {tag}: the oldest that is pending was written by a newer Observa"
        found.append(Finding("bad", what, "git pull && just down && just up"))
    return found


async def overdue(redis: Redis, tag: Tag, settings: BrokerSettings) -> list[Finding]:
    """Return how many accepted requests are past their deadline without an answer, and how many nobody had any more."""
    found = []
    seconds, _ = await redis.time()
    _, page = await waiting_page(redis, tag, 0)
    if late := sum(one.is_overdue(int(seconds) * 1000, settings) for one in page):
        what = f"requests {tag}: {late} are past their deadline and have no answer"
        found.append(Finding("bad", what, "just logs worker"))
    answered, ago_s = await _unanswered(redis, tag)
    if answered:
        what = (
            f"requests {tag}: {answered} were accepted and no reader had them any more; they were "
            f"answered deadline_exceeded, the last one {ago_s // 60} min ago"
        )
        found.append(Finding("warn", what, f"just redis XINFO GROUPS '{tag.requests}'; docs/runbooks/RequestsLost.md"))
    return found


async def _unanswered(redis: Redis, tag: Tag) -> tuple[int, int]:
    """Return how many requests no reader had any more, and how many seconds ago the last was; 0 after a day."""
    found: Any = await redis.hgetall(tag.unanswered)
    counted = whole_numbers(found)
    seconds, _ = await redis.time()
    ago_s = int(seconds) - counted.get("last_s", 0)
    return (counted.get("requests", 0) if ago_s < _DAY_S else 0), ago_s


async def _is_newer(redis: Redis, tag: Tag) -> bool:
    oldest = (await redis.xpending(tag.requests, WORKERS))["min"]
    entries: Any = await redis.xrange(tag.requests, oldest, oldest) if oldest else []
    for _, fields in entries:
        try:
            Request.from_fields(fields)
        except NewerSchemaError:
            return True
        except MalformedEntryError:
            return False
    return False

"""The log's health: the server, the workers, how far each reader has come."""

from collections.abc import Iterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from broker.announcements import Announcement, announcements, served_models
from broker.cluster import primaries
from broker.connection import check_server, connect
from broker.errors import ObservaError
from broker.inspection import GroupState, group_states
from broker.streams import ARCHIVE, MONITOR, SHADOW, Tag
from deploy.local.doctor_keys import examine_files, losses, wrong_keys
from deploy.local.findings import Finding, Level
from deploy.local.settings import StackSettings

_MEMORY_WARN, _MEMORY_BAD = 0.6, 0.7  # past the second the gateway refuses requests
_SLOW_MS = 30_000
_ARCHIVE_SLOW_MS = 300_000  # it writes what it read every so often: OBSERVA_ARCHIVE_FLUSH_S, half a minute by default
_LOOK = {MONITOR: "just logs monitor", ARCHIVE: "just logs archive"}


async def examine_log(settings: StackSettings) -> list[Finding]:
    """Return what there is to say about the server and everything in it."""
    redis = connect(settings, "doctor")
    try:
        await check_server(redis, settings)
        findings = []
        for server in await primaries(redis):
            info = await server.info()
            findings += [*_server(info, await _appendfsync(server)), *examine_files(info)]
        findings += await _workers(redis, settings)
        for model in await served_models(redis) or [settings.model]:
            for shard in range(settings.shards):
                findings += await _tag(redis, Tag(model, shard))
            findings += await _more_shards(redis, Tag(model, settings.shards))
    except ObservaError as error:
        return [Finding("bad", f"server: {error}")]
    except RedisError as error:
        return [Finding("bad", f"server: {error}", "just logs redis")]
    else:
        return findings
    finally:
        await redis.aclose()
        await redis.connection_pool.disconnect()


async def _appendfsync(server: Redis) -> str:
    """Return when the server's file reaches its disk: always, everysec or no."""
    try:
        found = (await server.config_get("appendfsync"))["appendfsync"]
    except (ResponseError, KeyError):  # whoever runs the server does not let us ask
        return "unknown"
    return str(found)


def _server(info: dict[str, Any], appendfsync: str) -> Iterator[Finding]:
    version = f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {info['redis_version']}"
    what = f"server: {version}, up {info['uptime_in_seconds'] // 60} min"
    if not info["aof_enabled"]:  # as OBSERVA_ALLOW_UNSAFE_REDIS lets it
        yield Finding("warn", f"{what}, forgets everything at a restart", "just redis CONFIG SET appendonly yes")
    elif appendfsync == "no":
        lost = "loses about the last half minute when power fails (appendfsync no)"
        yield Finding("warn", f"{what}, {lost}", "just redis CONFIG SET appendfsync everysec")
    elif appendfsync == "unknown":
        yield Finding("ok", f"{what}, keeps everything unless its appendfsync, which it does not tell, is no")
    else:
        yield Finding("ok", f"{what}, keeps everything")
    if info["aof_enabled"] and info.get("aof_last_write_status") != "ok":
        yield Finding("bad", "server: cannot write its append-only file", "just logs redis")
    used, most = info["used_memory"], info["maxmemory"]
    if not most:
        yield Finding("warn", f"memory: {used / 1e6:.0f} MB used, no limit", "just redis CONFIG SET maxmemory 1gb")
        return
    level: Level = "bad" if used > _MEMORY_BAD * most else "warn" if used > _MEMORY_WARN * most else "ok"
    what = f"memory: {used / 1e6:.0f} of {most / 1e6:.0f} MB used"
    yield Finding(
        level, what, "" if level == "ok" else "just redis CONFIG SET maxmemory 2gb, and OBSERVA_REDIS_MAXMEMORY"
    )


async def _workers(redis: Redis, settings: StackSettings) -> list[Finding]:
    seconds, microseconds = await redis.time()
    now_ms = int(seconds) * 1000 + int(microseconds) / 1000
    findings = []
    for model in await served_models(redis) or [settings.model]:
        live = [a for a in await announcements(redis, model) if a.is_live(now_ms)]
        if live:
            rate = sum(a.texts_per_second for a in live)
            versions = ", ".join(sorted({a.live for a in live}))
            findings.append(
                Finding("ok", f"workers: {len(live)} serve {model} {versions}, {rate:.0f} texts/s together")
            )
        else:
            findings.append(Finding("bad", f"workers: none serves {model}", "just logs worker"))
        findings += _refused(model, live)
    return findings


def _refused(model: str, live: list[Announcement]) -> Iterator[Finding]:
    for version in sorted({version for one in live for version in one.refused}):
        reasons = [one.refused[version] for one in live if version in one.refused]
        reason = "".join(letter if letter.isprintable() else " " for letter in reasons[0])
        what = f"{model} {version}: wanted, and refused by {len(reasons)} of {len(live)} workers: {reason}"
        yield Finding("bad", what, f"just models {model}")


async def _tag(redis: Redis, tag: Tag) -> list[Finding]:
    if wrong := await wrong_keys(redis, tag):
        return wrong
    findings = [_group(tag, state) for state in await group_states(redis, tag)]
    findings += await losses(redis, tag)
    dead = await redis.xlen(tag.dead)
    findings.append(Finding("warn" if dead else "ok", f"dead letters {tag}: {dead}", "just dead" if dead else ""))
    return findings


async def _more_shards(redis: Redis, beyond: Tag) -> list[Finding]:
    if not await redis.exists(beyond.born):
        return []
    what = f"shards: the log has {beyond}, and OBSERVA_SHARDS={beyond.shard} leaves it out"
    return [Finding("bad", what, "set OBSERVA_SHARDS to what the other services have; it may only grow")]


def _group(tag: Tag, state: GroupState) -> Finding:
    lag = "unknown" if state.lag is None else str(state.lag)
    oldest = f", oldest {state.oldest_ms / 1000:.1f} s" if state.oldest_ms is not None else ""
    what = f"{state.group} on {tag} {state.stream}: lag {lag}, pending {state.pending}{oldest}"
    slow_ms = _ARCHIVE_SLOW_MS if state.group == ARCHIVE else _SLOW_MS
    if (state.oldest_ms or 0) <= slow_ms and state.lag is not None:
        return Finding("ok", what)
    if state.group.startswith(SHADOW):
        return Finding("warn", what, f"just shadow {tag.model} {state.group.removeprefix(SHADOW)} 10%, or --off")
    return Finding("warn", what, _LOOK.get(state.group, "just scale-workers N"))

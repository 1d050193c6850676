"""Everything that runs a script now and then, once each."""

from redis.asyncio import Redis

from broker.claims import claim
from broker.forgetting import forget
from broker.groups import ensure_groups
from broker.janitor import keep_house
from broker.leases import held
from broker.manifest import Pointer
from broker.settings import BrokerSettings
from broker.shadows import Done, finish, open_group
from broker.streams import WORKERS, PredictionId, Tag, shadow_group
from broker.versions import mirror


async def use_each_script(redis: Redis, settings: BrokerSettings, tag: Tag) -> None:
    """Take over an entry, finish a shadow's, hold a lease, mirror a pointer, do the janitor's round, forget."""
    await ensure_groups(redis, tag)
    await mirror(redis, tag.model, Pointer(version="1", generation=1, shadows={"2": 1.0}))
    await open_group(redis, tag, "2")
    entry = (await redis.xadd(tag.requests, {"text": "x"})).decode()
    for group in (WORKERS, shadow_group("2")):
        await redis.xreadgroup(group, "gone", {tag.requests: ">"})
    await claim(redis, tag, "me", entry, settings)
    await finish(redis, tag, "2", [Done(entry)])
    async with held(redis, tag.lease("files")):
        await keep_house(redis, settings, tag, "me")
    await forget(redis, [tag], {str(PredictionId.new(tag))}, wait_s=0, now=True)

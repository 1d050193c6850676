import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from broker.streams import SERVED, Tag
from monitor.monitor import Monitor
from monitor.settings import MonitorSettings
from tests.monitor.process import store
from tests.servers import RedisServer, eventually

TAG = Tag("borrowed")


async def test_a_model_that_was_removed_is_left_so_that_its_keys_may_be_deleted_and_stay_deleted(
    redis: Redis, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.monitor.EVERY_S", 0.1)
    monkeypatch.setattr("monitor.monitor.GONE_S", 0.3)
    monitor = Monitor(redis, MonitorSettings(redis_url=server.url, models=store(tmp_path)))
    stop = asyncio.Event()
    running = asyncio.create_task(monitor.run(stop))

    async def state_of(tag: Tag) -> bool:
        return bool(await redis.hexists(tag.key("monitor"), "state"))

    async def watches(*models: str) -> bool:
        return monitor.models() == list(models)

    await redis.zadd(SERVED, {TAG.model: 1})
    await eventually(lambda: watches("borrowed", "sentiment"), "the served model is watched")
    await eventually(lambda: state_of(TAG), "its state is kept")
    await redis.zrem(SERVED, TAG.model)
    await eventually(lambda: watches("sentiment"), "it is watched no longer")
    await redis.delete(*[key async for key in redis.scan_iter(f"observa:{TAG}:*")])
    await redis.delete(Tag("sentiment").key("monitor"))
    await redis.xadd(Tag("sentiment").results, {"id": "?"})
    await eventually(lambda: state_of(Tag("sentiment")), "the other model is watched as before")
    assert not [key async for key in redis.scan_iter(f"observa:{TAG}:*")]

    await redis.zadd(SERVED, {TAG.model: 1})
    await eventually(lambda: state_of(TAG), "served again, it is watched again")
    stop.set()
    await asyncio.wait_for(running, 20)

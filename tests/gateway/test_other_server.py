"""A replica takes over whose entries are not later than those that were read: its replies arrive all the same."""

import asyncio
import time

from broker.duties import Duties
from broker.log import Log
from broker.settings import BrokerSettings
from broker.streams import PredictionId, Tag
from gateway.metrics import Metrics
from gateway.replies import Replies
from tests.takeover import Pair

TAG = Tag("sentiment")


async def test_replies_with_earlier_ids_than_those_of_the_server_before_arrive(pair: Pair) -> None:
    duties = Duties()
    log = Log(pair.client, BrokerSettings(redis_password_file=None))
    replies = Replies(pair.client, log, Metrics(), "gateway", duties)
    ids = [str(PredictionId.new(TAG)) for _ in range(2)]
    first, second = replies.expect(ids)
    replies.listen(TAG)
    try:
        await pair.take_over()
        ahead = f"{int(time.time() * 1000) + 3_600_000}-1"
        await pair.old.xadd(TAG.replies("gateway"), {"id": ids[0], "answer": "one"}, id=ahead)
        assert await asyncio.wait_for(first, 20) == b"one"
        await pair.point_at(pair.new)
        await pair.new.xadd(TAG.replies("gateway"), {"id": ids[1], "answer": "two"})
        assert await asyncio.wait_for(second, 20) == b"two"
    finally:
        await duties.stop()

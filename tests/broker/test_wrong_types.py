"""A key that another program wrote is named, and the script that meets it has written nothing."""

import pytest
from redis import Redis as SyncRedis
from redis.exceptions import ResponseError

from tests.broker.script_calls import CALLS, TAG, fill, run

UNUSED = {"settle": {TAG.unanswered}}  # by the call of the table


def everything(redis):
    return {key: redis.dump(key) for key in redis.scan_iter()}


@pytest.mark.parametrize("name", CALLS)
def test_no_script_writes_anything_before_it_knows_the_type_of_every_key_it_uses(server, name):
    redis = SyncRedis(port=server.port)
    fill(redis, 1000)
    keys, _ = CALLS[name]
    for key in set(keys) - UNUSED.get(name, set()):
        kept = redis.dump(key)
        redis.delete(key)
        redis.zadd(key, {"foreign": 1})
        before = everything(redis)
        with pytest.raises(ResponseError, match=f"WRONGKEY {key} zset"):
            run(redis, name)
        assert everything(redis) == before, key
        redis.delete(key)
        if kept:
            redis.restore(key, 0, kept)
    redis.close()

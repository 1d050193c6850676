"""API keys: how they are compared, and what is kept of them."""

import time

import pytest

from broker import access
from broker.access import ApiKey, create_key, revoke_key, verify
from broker.errors import ObservaError
from broker.streams import KEYS


async def make(redis, lifetime_s=None):
    return await create_key(redis, "anna", ["predict"], lifetime_s)


@pytest.mark.parametrize("shown", ["", "nonsense", f"observa_{'0' * 12}.{'A' * 43}", "known", "ending", "right"])
def test_one_digest_and_one_constant_time_comparison_are_made_whatever_is_shown(shown, monkeypatch):
    key, right = ApiKey.make("anna", ["predict"], None)
    gone = key.model_copy(update={"revoked_s": 1})
    text = {"known": f"observa_{key.id}.{'A' * 43}", "ending": right, "right": right}.get(shown, shown)
    made, real_digest, real_compare = [], access.hashlib.sha256, access.hmac.compare_digest
    monkeypatch.setattr(access.hashlib, "sha256", lambda data: made.append("digest") or real_digest(data))
    monkeypatch.setattr(access.hmac, "compare_digest", lambda a, b: made.append(len(a)) or real_compare(a, b))
    found = verify({key.id: gone if shown == "ending" else key}, text, time.time())
    assert made == ["digest", 64]
    assert (found is not None) == (shown == "right")


async def test_a_caller_has_at_most_two_active_keys(redis):
    first, _ = await make(redis)
    await make(redis, lifetime_s=0)
    await make(redis)
    with pytest.raises(ObservaError, match=f"just keys revoke {first.id}"):
        await make(redis)
    await revoke_key(redis, first.id)
    await make(redis)


async def test_what_is_stored_tells_no_secret(redis):
    _, shown = await make(redis)
    secret = shown.partition(".")[2]
    stored = await redis.hgetall(KEYS)
    assert len(secret) == 43
    assert secret.encode() not in b"".join([*stored.keys(), *stored.values()])


async def test_what_is_stored_by_hand_opens_nothing(redis):
    key, _ = await make(redis)
    await redis.hset(KEYS, "garbage", "{}")
    await redis.hset(KEYS, "0" * 12, key.model_dump_json())
    assert list(await access.read_keys(redis)) == [key.id]

"""Which version the gateway stamps: the canary for its share of subjects, once every worker has it."""

from contextlib import AsyncExitStack

import pytest

from broker.manifest import Canary, Pointer
from broker.streams import Tag
from broker.versions import mirror
from tests.gateway.stack import EchoWorker, running_gateway, running_worker, tensor
from tests.servers import eventually

SHARE = 0.4
TAG = Tag("sentiment")


@pytest.fixture
async def canary(gateway_settings, redis):
    """A gateway, a worker that has both versions, and one that has or lacks the canary."""
    async with AsyncExitStack() as stack:
        whole = await stack.enter_async_context(running_worker(EchoWorker(gateway_settings(), versions=("1", "2"))))
        other = EchoWorker(gateway_settings(), versions=("1",))
        other.name = "other"
        await stack.enter_async_context(running_worker(other))
        await eventually(lambda: announced(redis, 2), "both workers are announced")
        await mirror(redis, "sentiment", pointer(1, Canary(version="2", share=SHARE)))
        gateway = await stack.enter_async_context(running_gateway(gateway_settings()))
        yield gateway, whole, other


def pointer(generation, canary=None):
    return Pointer(version="1", generation=generation, canary=canary)


async def announced(redis, count):
    return await redis.hlen("observa:{sentiment}:workers") == count


async def stamped(gateway, count, **more):
    """The versions that answered *count* calls."""
    return [(await gateway.client.post("/predict", json={"text": "a", **more})).json()["version"] for _ in range(count)]


async def stamps(gateway, version):
    async def seen():
        return version in await stamped(gateway, 20)

    await eventually(seen, f"version {version} is stamped")


async def test_the_canary_waits_for_every_worker_and_goes_when_one_no_longer_has_it(canary):
    gateway, whole, other = canary
    assert set(await stamped(gateway, 40)) == {"1"}
    other.versions = ("1", "2")
    await other.announce()
    await stamps(gateway, "2")
    whole.versions = ("1",)
    await whole.announce()

    async def only_live():
        return set(await stamped(gateway, 20)) == {"1"}

    await eventually(only_live, "everything falls back to the live version")
    document = (await gateway.client.get("/v1/models/sentiment")).json()
    assert document["canary"] == {"version": "2", "share": SHARE}
    assert document["shadows"] == {}


async def test_a_subject_keeps_its_version_and_texts_without_one_are_shared_by_id(canary):
    gateway, _, other = canary
    other.versions = ("1", "2")
    await other.announce()
    await stamps(gateway, "2")
    by_subject = {name: set(await stamped(gateway, 3, subject=f"u-{name}")) for name in range(40)}
    assert all(len(found) == 1 for found in by_subject.values())
    chosen = sum("2" in found for found in by_subject.values())
    assert abs(chosen / 40 - SHARE) < 4.5 * (SHARE * (1 - SHARE) / 40) ** 0.5
    texts = (await gateway.client.post("/predict", json={"texts": ["a"] * 60})).json()["predictions"]
    assert {one["version"] for one in texts} == {"1", "2"}
    together = await gateway.client.post("/predict", json={"texts": ["a"] * 60, "subject": "u-1"})
    assert len({one["version"] for one in together.json()["predictions"]}) == 1


async def test_one_infer_call_gets_one_version_for_all_its_texts(canary, redis):
    gateway, _, other = canary
    other.versions = ("1", "2")
    await other.announce()
    await stamps(gateway, "2")
    versions = []
    for _ in range(20):
        tensors = await gateway.client.post("/v2/models/sentiment/infer", json=tensor(*"a" * 30))
        versions.append(tensors.json()["model_version"])
        stamped_here = {fields[b"version"].decode() for _, fields in await redis.xrevrange(TAG.requests, count=30)}
        assert stamped_here == {versions[-1]}
    assert set(versions) == {"1", "2"}


async def test_who_names_a_version_gets_it_whatever_is_tried(canary):
    gateway, _, other = canary
    other.versions = ("1", "2")
    await other.announce()
    await stamps(gateway, "2")
    pinned = [
        (await gateway.client.post("/v1/models/sentiment/versions/1/predict", json={"text": "a"})).json()["version"]
        for _ in range(20)
    ]
    assert set(pinned) == {"1"}


async def test_the_canary_ends_for_everybody_within_a_moment(canary, redis):
    gateway, _, other = canary
    other.versions = ("1", "2")
    await other.announce()
    await stamps(gateway, "2")
    await mirror(redis, "sentiment", pointer(2))

    async def ended():
        return set(await stamped(gateway, 30)) == {"1"}

    await eventually(ended, "nothing is stamped with the former canary")

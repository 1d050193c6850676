"""When the archive's group may go on: over what is in a file, while the lease is ours, on the same log."""

import time
from types import SimpleNamespace

import pytest

from archive.follower import Follower
from archive.pending import Memory
from archive.positions import MovedError, Position
from archive.settings import ArchiveSettings
from broker.archiving import ArchiveWriter
from broker.groups import ensure_groups, groups_of
from broker.leases import FILES_LEASE, held
from broker.streams import ARCHIVE
from tests.archive.streams import TAG


@pytest.fixture
async def results(redis, tmp_path):
    """The archive's place in a stream of one entry, and that entry."""
    await ensure_groups(redis, TAG)
    entry = (await redis.xadd(TAG.results, {"id": "a"})).decode()
    return Position(redis, ArchiveWriter(str(tmp_path)), TAG, "results"), entry


async def place(redis):
    return {
        group["name"].decode(): group["last-delivered-id"].decode() for group in await groups_of(redis, TAG.results)
    }


@pytest.mark.parametrize("changed", ["the lease is another's", "it is another log", "another archiver moved it"])
async def test_the_group_stays_where_it_is_once(redis, results, changed):
    position, entry = results
    born = (await redis.get(TAG.born)).decode()
    key = TAG.lease(FILES_LEASE)
    async with held(redis, key) as lease:
        await position.find(born, lease)
        at = position.last
        if changed == "the lease is another's":
            await redis.set(key, "another archiver's")
        elif changed == "it is another log":
            await redis.set(TAG.born, "another")
        else:
            at = (await redis.xadd(TAG.results, {"id": "b"})).decode()
            await redis.xgroup_setid(TAG.results, ARCHIVE, at)
        with pytest.raises(MovedError):
            await position._move(lease, born, position.last, entry, 1)
        assert (await place(redis))[ARCHIVE] == at
        await redis.set(key, lease.token)
        await redis.set(TAG.born, born)
        await position._move(lease, born, at, entry, 1)
        assert (await place(redis))[ARCHIVE] == entry


async def test_the_lag_is_right_where_what_was_written_has_left_the_log(redis, results):
    position, entry = results
    born = (await redis.get(TAG.born)).decode()
    for name in "bc":
        await redis.xadd(TAG.results, {"id": name})
    async with held(redis, TAG.lease(FILES_LEASE)) as lease:
        await position.find(born, lease)
        await redis.xtrim(TAG.results, maxlen=2, approximate=False)
        await position._move(lease, born, position.last, entry, 1)
    [group] = [group for group in await groups_of(redis, TAG.results) if group["name"] == ARCHIVE.encode()]
    assert group["lag"] == 2


async def test_a_storage_is_given_the_time_that_is_set_before_its_archiver_counts_as_hanging(
    redis, tmp_path, monkeypatch
):
    settings = ArchiveSettings(archive=str(tmp_path), store_timeout_s=3600)
    pulse = Follower(redis, settings, TAG, ArchiveWriter(str(tmp_path)), Memory(1)).pulse
    for later_s, hangs in ((3600, False), (2 * 3600, True)):
        clock = SimpleNamespace(monotonic=lambda later_s=later_s: time.monotonic() + later_s)
        monkeypatch.setattr("broker.duties.time", clock)
        assert pulse.stands_still is hangs

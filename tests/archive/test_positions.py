"""When the archive's group may go on: over what is in a file, while the lease is ours, on the same log."""

import pytest

from archive.positions import MovedError, Position
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


async def test_the_group_stays_where_it_is_once_the_lease_is_anothers(redis, results):
    position, entry = results
    born = (await redis.get(TAG.born)).decode()
    key = TAG.lease(FILES_LEASE)
    async with held(redis, key) as lease:
        await position.find(born, lease)
        await redis.set(key, "another archiver's")
        with pytest.raises(MovedError):
            await position._move(lease, born, position.last, entry, 1)
        assert (await place(redis))[ARCHIVE] == position.last
        await redis.set(key, lease.token)
        await position._move(lease, born, position.last, entry, 1)
        assert (await place(redis))[ARCHIVE] == entry

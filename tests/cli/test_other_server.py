"""A replica takes over while the server before it is read on: who follows a stream sees what is on the new one."""

import time

from broker.streams import Tag
from cli.reading import Place, after
from tests.takeover import Pair

STREAM = Tag("sentiment").alerts


async def test_entries_before_a_position_that_another_server_gave_are_read(pair: Pair) -> None:
    place, seen = Place({STREAM: "0-0"}), set()

    async def look() -> None:
        for entries in (await after(pair.client, place, 10)).values():
            seen.update(fields[b"name"] for _, fields in entries)
            place.positions[STREAM] = entries[-1][0]

    await pair.old.xadd(STREAM, {"name": "both"})
    await look()
    await pair.take_over()
    await pair.new.xadd(STREAM, {"name": "new"})
    await pair.old.xadd(STREAM, {"name": "stale"}, id=f"{int(time.time() * 1000) + 1000}-1")
    await look()
    assert seen == {b"both", b"stale"}
    await pair.point_at(pair.new)
    await look()
    assert seen == {b"both", b"stale", b"new"}
    assert await after(pair.client, place, 10) == {}

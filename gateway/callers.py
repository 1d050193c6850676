"""Callers who go away while they wait: nobody keeps a place for them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request

PATIENCE_S: Final = 1.0  # most answers come sooner and need no watching


@contextmanager
def while_connected(request: Request) -> Iterator[None]:
    """Cancel the block when the caller closes the connection, looked at from `PATIENCE_S` on.

    The request's body must have been read.

    Raises:
        ClientDisconnect: the caller went away.

    """
    watch = _Watch(request)
    begin = asyncio.get_running_loop().call_later(PATIENCE_S, watch.begin)
    try:
        yield
    except asyncio.CancelledError:
        if not watch.gone:
            raise
        watch.waiting.uncancel()
        raise ClientDisconnect from None
    finally:
        begin.cancel()
        watch.end()


class _Watch:
    def __init__(self, request: Request) -> None:
        waiting = asyncio.current_task()
        assert waiting is not None  # noqa: S101 - a coroutine runs in a task
        self.waiting = waiting
        self.gone = False
        self._request = request
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.waiting.cancel()

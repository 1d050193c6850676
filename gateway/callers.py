"""Callers who go away while they wait: nobody keeps a place for them."""

import asyncio
from types import TracebackType
from typing import Final, Self

from starlette.requests import ClientDisconnect, Request

PATIENCE_S: Final = 1.0  # most answers come sooner and need no watching


class WhileConnected:
    """Cancels its block when the caller closes the connection, looked at from `PATIENCE_S` on.

    The request's body must have been read.

    Raises:
        ClientDisconnect: the caller went away.

    """

    __slots__ = ("_begin", "_gone", "_request", "_waiting", "_watching")

    def __init__(self, request: Request) -> None:
        waiting = asyncio.current_task()
        assert waiting is not None  # noqa: S101 - a coroutine runs in a task
        self._waiting = waiting
        self._gone = False
        self._request = request
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._begin = asyncio.get_running_loop().call_later(PATIENCE_S, self._begin_to_watch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._begin.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError):
            self._waiting.uncancel()
            raise ClientDisconnect from None

    def _begin_to_watch(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._waiting.cancel()

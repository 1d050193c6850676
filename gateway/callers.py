"""Callers who go away while they wait: nobody keeps a place for them."""

import asyncio
from types import TracebackType
from typing import Final, Self

from starlette.requests import ClientDisconnect, Request

PATIENCE_S: Final = 1.0  # most answers come sooner and need no watching


class Callers:
    """Everybody who waits for an answer; one per process."""

    def __init__(self) -> None:
        self._waiting: set[_WhileConnected] = set()

    def while_connected(self, request: Request) -> "_WhileConnected":
        """Cancel the block when the caller closes the connection, looked at after `PATIENCE_S` or a little more.

        The request's body must have been read.

        Raises:
            ClientDisconnect: the caller went away.

        """
        return _WhileConnected(self._waiting, request)

    async def look_forever(self) -> None:
        """Begin to watch whoever waits for long: a timer for each would cost every call what few calls need."""
        seen: set[_WhileConnected] = set()
        while True:
            await asyncio.sleep(PATIENCE_S)
            for one in seen & self._waiting:
                one.begin_to_watch()
            seen = set(self._waiting)


class _WhileConnected:
    __slots__ = ("_all", "_gone", "_request", "_task", "_watching")

    def __init__(self, everybody: "set[_WhileConnected]", request: Request) -> None:
        self._all = everybody
        self._request = request
        self._task = asyncio.current_task()
        self._watching: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> Self:
        self._all.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._all.discard(self)
        if self._watching is not None:
            self._watching.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError):
            assert self._task is not None  # noqa: S101 - a coroutine runs in a task
            self._task.uncancel()
            raise ClientDisconnect from None

    def begin_to_watch(self) -> None:
        """Wait for the end of the connection; once is enough."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        assert self._task is not None  # noqa: S101 - a coroutine runs in a task
        self._task.cancel()

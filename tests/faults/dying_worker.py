"""A strange worker that kills itself at one named point, when it has been there for the wanted number of times.

The methods are wrapped here; the worker itself knows nothing of it.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

from broker.log import Log
from broker.wire import Line
from tests.live import strange_worker
from worker.app import main
from worker.handler import Handler
from worker.reading import Reader

POINTS: Final = ("after_read", "after_inference", "before_script", "after_script", "before_reply")
POINT: Final = os.environ.get("OBSERVA_TEST_DIE_AT", "")
EXECUTED_S: Final = 0.2  # by then the server has run the script whose reply nobody takes up
_in_settle: ContextVar[bool] = ContextVar("in_settle", default=False)
_left = int(os.environ.get("OBSERVA_TEST_DIE_AFTER", "1"))


def here(point: str) -> bool:
    """Tell whether this is the point, and the last time that it is passed."""
    global _left  # noqa: PLW0603 - one process, one death
    if point == POINT:
        _left -= 1
    return point == POINT and _left <= 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wrap_read(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def wrapped(self: Reader) -> Any:
        entries = await read(self)
        if entries and here("after_read"):
            die()
        return entries

    return wrapped


def wrap_handle(handle: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(self: Handler, arrivals: Any) -> Any:
        handled = handle(self, arrivals)
        if here("after_inference"):
            die()
        return handled

    return wrapped


def wrap_settle(settle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def wrapped(self: Log, *arguments: Any) -> Any:
        if here("before_script"):
            die()
        _in_settle.set(here("before_reply"))
        try:
            published = await settle(self, *arguments)
        finally:
            _in_settle.set(False)
        if here("after_script"):
            die()
        return published

    return wrapped


def wrap_call(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def wrapped(self: Line, *command: Any) -> Any:
        if _in_settle.get():
            asyncio.get_running_loop().call_later(EXECUTED_S, die)
            await call(self, *command)
            await asyncio.Event().wait()
        return await call(self, *command)

    return wrapped


Reader._read = wrap_read(Reader._read)  # type: ignore[method-assign]
Handler.handle = wrap_handle(Handler.handle)  # type: ignore[method-assign]
Log.settle = wrap_settle(Log.settle)  # type: ignore[method-assign]
Line.__call__ = wrap_call(Line.__call__)  # type: ignore[method-assign]

if __name__ == "__main__":
    assert strange_worker  # importing it has registered the model
    raise SystemExit(main())

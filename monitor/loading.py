"""Work that a store may hold up for ever, in a thread that neither the event loop nor the end waits for."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

FoundT = TypeVar("FoundT")


def beside(work: Callable[[], FoundT]) -> "asyncio.Future[FoundT]":
    """Begin *work* in a daemon thread; the future holds what it returns or raises."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[FoundT] = loop.create_future()

    def settle(found: FoundT | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        try:
            found, raised = work(), None
        except Exception as error:  # noqa: BLE001 whoever waits for the future gets it
            found, raised = None, error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found, raised)

    threading.Thread(target=run, name="store", daemon=True).start()
    return future

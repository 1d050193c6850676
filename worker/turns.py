"""One thread for all models: inference leaves the event loop free, and the models take turns, a batch each.

Beside it a thread that gives way, for work that nobody waits for.
"""

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")

GIVES_WAY: Final = 10  # added to a thread's niceness, which on Linux each thread has for itself

# Whoever waits for an answer often asks again within a few milliseconds, and full readers need as long between batches.
QUIET_S: Final = 0.005


class Turns:
    """Runs one piece of work at a time; of those who wait, the one served longest ago is next."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="behind", initializer=give_way)
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # in the order in which their turns come
        self._busy = False
        self._ended_at = 0.0  # time.monotonic() of the end of the last turn that somebody waits for
        self._freed = asyncio.Event()
        self._behind = asyncio.Lock()

    async def run(self, name: str, work: Callable[[], T], *, brief: bool = False) -> T:
        """Run *work* when it is the turn of *name*, on the thread, or here if *brief*; return what it returns."""
        await self._turn(name)
        try:
            if brief:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._ended_at = time.monotonic()
            self._pass_on()

    async def run_behind(self, work: Callable[[], T]) -> T:
        """Run *work*, for which nobody waits, on the other thread, once the first has been free for `QUIET_S`.

        It should be short: whatever comes meanwhile shares the machine with it.
        """
        async with self._behind:
            while self._busy or (quiet_s := time.monotonic() - self._ended_at) < QUIET_S:
                if self._busy:
                    self._freed.clear()
                    await self._freed.wait()
                else:
                    await asyncio.sleep(QUIET_S - quiet_s)
            return await asyncio.get_running_loop().run_in_executor(self._beside, work)

    def close(self) -> None:
        """Let the threads end."""
        self._thread.shutdown(wait=False)
        self._beside.shutdown(wait=False)

    async def _turn(self, name: str) -> None:
        if not self._busy:
            self._busy = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        for name in list(self._waiting):
            turns = self._waiting.pop(name)
            while turns:
                turn = turns.popleft()
                if not turn.done():
                    if turns:
                        self._waiting[name] = turns  # to the end of the row
                    turn.set_result(None)
                    return
        self._busy = False
        self._freed.set()


def give_way() -> None:
    """Let every other thread of this machine go before the one that calls, as far as the system can."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + GIVES_WAY)

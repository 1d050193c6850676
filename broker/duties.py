"""The tasks that a service must not lose, and the one rule for all: without one of them the process ends.

What keeps the service running then starts another. A process that lived on would look well and do nothing.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from broker.errors import ObservaError
from broker.files import files_told

STILL_S: Final = 120.0  # a loop that has not come round for so long hangs; each waits for an answer 5 s at most
LEAVE_S: Final = 40.0  # to end, once that was begun; open requests have 20
LOOK_S: Final = 5.0
SURE: Final = 3  # looks one after the other: a process that was paused gets a moment to come round

log = logging.getLogger(__name__)


class Pulse:
    """When a loop last came round, whatever the server answered. Any thread may beat or look."""

    def __init__(self, still_s: float = STILL_S) -> None:
        self._still_s = still_s
        self.beat()

    def beat(self) -> None:
        """Say that the loop has come round."""
        self._beat_s = time.monotonic()

    @property
    def stands_still(self) -> bool:
        """Whether the loop hangs."""
        return time.monotonic() - self._beat_s > self._still_s


class Duties:
    """The long-lived tasks of one process. Such a task ends by returning, or because it is ended here."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._tasks: dict[asyncio.Task[None], Pulse | None] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._gone_by_s: float | None = None  # time.monotonic()

    def begin(self, work: Coroutine[Any, Any, None], pulse: Pulse | None = None) -> asyncio.Task[None]:
        """Run *work*; if it raises, or something else cancels it, the process ends. *pulse* is that of its loop."""
        task = asyncio.create_task(work, name=getattr(work, "__qualname__", None))
        self._tasks[task] = pulse
        task.add_done_callback(self._ended)
        return task

    async def end(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Cancel *tasks* and wait until they have ended."""
        tasks = set(tasks)
        self._ending |= tasks
        await cancel(tasks)

    async def stop(self) -> None:
        """End all of them; the process is expected to be gone soon."""
        self._leave()
        await self.end(self._tasks)

    def stuck(self) -> list[str]:
        """Return the names of the tasks whose loops hang; none when all is well."""
        return sorted(
            {task.get_name() for task, pulse in tuple(self._tasks.items()) if pulse is not None and pulse.stands_still}
        )

    def fail(self, name: str, failure: BaseException) -> None:
        """Have the process end, since *name* is lost."""
        if self.failure is not None:
            return
        self.failure = failure
        log.critical("%s is lost; the process ends, to be started anew", name, exc_info=failure)
        if self._gone_by_s is None:
            self._leave()
            signal.raise_signal(signal.SIGTERM)

    def check(self) -> None:
        """Go on where nothing has failed.

        Raises:
            ObservaError: a task met what only a person can put right.
            SystemExit: with 1, where a task was lost.

        """
        if isinstance(self.failure, ObservaError):
            raise self.failure
        if self.failure is not None:
            sys.exit(1)

    def leave(self, *_: object) -> NoReturn:
        """Handle the signal that uvicorn repeats after everything is closed: with exit code 0, or as `check` does."""
        self.check()
        sys.exit(0)

    def guard(self) -> None:
        """From a thread, end the process when a loop hangs, or when it does not end though it should."""
        threading.Thread(target=self._guard, name="guard", daemon=True).start()

    def _guard(self) -> None:
        seen = 0
        while seen < SURE:
            time.sleep(LOOK_S)
            late = self._gone_by_s is not None and time.monotonic() > self._gone_by_s
            seen = seen + 1 if late or self.stuck() else 0
        log.critical("the process ends, to be started anew: it hangs", extra={"stuck": self.stuck()})
        os._exit(1)

    def _leave(self) -> None:
        if self._gone_by_s is None:
            self._gone_by_s = time.monotonic() + LEAVE_S

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        asked = task in self._ending
        self._ending.discard(task)
        if not task.cancelled():
            if failure := task.exception():
                self.fail(task.get_name(), failure)
        elif not asked:
            self.fail(task.get_name(), asyncio.CancelledError())


async def cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: before Python 3.12 a cancellation that meets a send just finished is lost."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)


@contextmanager
def exit_codes(service: str) -> Iterator[None]:
    """End the process with 2 and one line where a person can put it right, with 1 and a log line where we must."""
    try:
        with files_told():
            yield
    except ObservaError as error:
        print(f"observa {service}: {error}", file=sys.stderr)  # noqa: T201 for a person
        sys.exit(2)
    except Exception:
        log.critical("the service failed", exc_info=True)
        sys.exit(1)

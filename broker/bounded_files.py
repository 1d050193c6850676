"""A file system behind fsspec whose every call ends: what does not answer in time has failed."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, Self

from fsspec.implementations.local import LocalFileSystem

LIMIT_S: Final = 60.0
MOST_WAITING: Final = 8  # calls that hang at a time: past it a call fails without being tried


class BoundedFiles:
    """Passes every call on to *files*, in a thread that is left behind when it takes longer than *limit_s*.

    Raises:
        TimeoutError: it took longer, or too many calls hang already. What it does may still happen later.
        OSError: whatever it raised; every kind of store has errors of its own, of which most are none.

    """

    def __init__(self, files: Any, limit_s: float) -> None:
        self._files = files
        self._limit_s = limit_s
        self._free = threading.BoundedSemaphore(MOST_WAITING)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._files, name)
        if not callable(found):
            return found

        def bounded(*args: Any, **options: Any) -> Any:
            answer = self._within(lambda: found(*args, **options))
            return _BoundedFile(answer, self._within) if name == "open" else answer

        return bounded

    def _within(self, call: Callable[[], Any]) -> Any:
        if not self._free.acquire(timeout=self._limit_s):
            raise TimeoutError(f"{MOST_WAITING} calls hang already, each longer than {self._limit_s:g} s")
        done: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

        def run() -> None:
            try:
                done.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - raised where it was called
                done.put((None, error))
            finally:
                self._free.release()

        threading.Thread(target=run, name="files", daemon=True).start()
        try:
            answer, error = done.get(timeout=self._limit_s)
        except Empty:
            raise TimeoutError(f"no answer within {self._limit_s:g} s") from None
        if isinstance(error, Exception) and not isinstance(error, OSError):
            raise OSError(f"{type(error).__name__}: {error}") from error
        if error is not None:
            raise error
        return answer


class _BoundedFile:
    """An open file, each of whose reads is a call of its own."""

    def __init__(self, file: Any, within: Callable[[Callable[[], Any]], Any]) -> None:
        self._file = file
        self._within = within

    def read(self, *args: Any) -> Any:
        """Read on, within the time of one call."""
        return self._within(lambda: self._file.read(*args))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def bounded(files: Any, limit_s: float) -> Any:
    """Return *files*, bounded unless they are of this machine: those may hang only when it does."""
    return files if isinstance(files, LocalFileSystem) else BoundedFiles(files, limit_s)

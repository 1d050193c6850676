"""Saying once that something is wrong, and once that it is over, however often it is tried in between."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis.exceptions import RedisError

from broker.errors import ObservaError
from worker.metrics import READ_FAILURES

# What Redis being away, read-only, full, loading or filled with foreign keys looks like from here. All of it may pass.
PASSING: Final = (RedisError, OSError, ObservaError)
AGAIN_S: Final = 60


class Trouble:
    """The state of one duty: well, or in trouble of one kind."""

    def __init__(self, duty: str, model: str) -> None:
        self._log = logging.getLogger(f"worker.{duty}")
        self._duty = duty
        self._model = model
        self._kind = ""
        self._said_at = 0.0

    @contextmanager
    def waited_out(self) -> Iterator[None]:
        """Let what may pass end the block, and no more than that; a block that ends well says that it is over."""
        try:
            yield
        except PASSING as error:
            self.met(error)
        else:
            self.over()

    def met(self, error: BaseException) -> None:
        """Count *error*; log it where it is another than before, or a minute has passed."""
        kind = _kind(error)
        READ_FAILURES.labels(self._model, kind).inc()
        now = time.monotonic()
        if kind != self._kind or now - self._said_at > AGAIN_S:
            self._log.warning("%s waits: %s", self._duty, error, extra={"model": self._model, "kind": kind})
            self._kind, self._said_at = kind, now

    def over(self) -> None:
        """It worked."""
        if self._kind:
            self._log.info("%s goes on", self._duty, extra={"model": self._model, "after": self._kind})
            self._kind = ""


def _kind(error: BaseException) -> str:
    first = str(error).partition(" ")[0]
    return first.lower() if first in {"NOGROUP", "READONLY", "WRONGTYPE", "OOM"} else type(error).__name__

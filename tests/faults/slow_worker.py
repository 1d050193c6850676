"""A strange worker that takes twenty milliseconds a text, and whose warm-up sees it."""

import time
from collections.abc import Sequence
from typing import Final

from tests.live.strange_worker import Strange
from worker import speed
from worker.app import main
from worker.models import LOADERS, Scores

TEXT_S: Final = 0.02


class _Time:
    """Sleeping takes no CPU time, so the warm-up gets a clock that sees it."""

    thread_time = staticmethod(time.perf_counter)


class Slow(Strange):
    def predict(self, texts: Sequence[str]) -> list[Scores]:
        time.sleep(TEXT_S * len(texts))
        return super().predict(texts)


LOADERS["strange"] = Slow
speed.time = _Time  # type: ignore[attr-defined]

if __name__ == "__main__":
    raise SystemExit(main())

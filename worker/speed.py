"""How many texts a second a version takes: measured before the first request, corrected by every large batch."""

import random
import time
from typing import Final, NamedTuple

from broker.errors import SettingsError
from broker.events import MAX_TEXT_CHARACTERS
from broker.settings import BrokerSettings
from broker.text import describe, normalise
from worker.models import Loaded

LEAST_BATCH: Final = 8  # a smaller one says how fast a text is, not how many a full batch takes along
MEMORY: Final = 0.9  # share of the old figure that remains
WORDS: Final = 20  # of a usual text
LOOK_MS: Final = 1000  # most time between two looks for idle entries


class Speed:
    """Texts per second of one version on this worker when it is busy."""

    def __init__(self, texts_per_second: float) -> None:
        self.texts_per_second = texts_per_second

    def learn(self, texts: int, seconds: float) -> None:
        """Take a batch of *texts* that took *seconds* into account."""
        if texts >= LEAST_BATCH and seconds > 0:
            self.texts_per_second = MEMORY * self.texts_per_second + (1 - MEMORY) * texts / seconds


class Warmth(NamedTuple):
    """What a warm-up measured, in CPU time of the one thread, so that a busy machine makes no difference."""

    texts_per_second: float
    slowest_batch_s: float


def warm_up(loaded: Loaded, batch: int) -> Warmth:
    """Run a batch of usual texts and one of the longest that are accepted."""
    words = sorted(loaded.vocabulary) or ["word", "another"]
    draw = random.Random(0)
    usual = [" ".join(draw.choices(words, k=WORDS)) for _ in range(batch)]
    longest = [(" ".join(draw.choices(words, k=MAX_TEXT_CHARACTERS)))[:MAX_TEXT_CHARACTERS] for _ in range(batch)]
    _time(loaded, usual)  # the first run pays for memory that later ones reuse
    return Warmth(batch / max(_time(loaded, usual), 1e-9), _time(loaded, longest))


def check_claim_time(settings: BrokerSettings) -> None:
    """Make sure that a dead worker's entries are answered in time by another.

    Raises:
        SettingsError: the claim time is longer than half the deadline leaves.

    """
    most_ms = settings.sync_deadline_ms // 2 - LOOK_MS
    if settings.claim_ms > most_ms:
        raise SettingsError(
            f"OBSERVA_CLAIM_MS={settings.claim_ms} recovers too late for OBSERVA_SYNC_DEADLINE_MS="
            f"{settings.sync_deadline_ms}; set it to {most_ms} or less"
        )


def check_slowest_batch(settings: BrokerSettings, model: str, slowest_batch_s: float) -> None:
    """Make sure that a slow batch does not look like a dead worker.

    Raises:
        SettingsError: the claim time is shorter than three of the slowest batches.

    """
    least_ms = round(3 * slowest_batch_s * 1000)
    if settings.claim_ms < least_ms:
        raise SettingsError(
            f"OBSERVA_CLAIM_MS={settings.claim_ms} is less than three of the slowest batches of {model}; "
            f"set it to {least_ms} or more, or lower OBSERVA_WORKER_BATCH"
        )


def _time(loaded: Loaded, texts: list[str]) -> float:
    start = time.thread_time()
    loaded.model.predict([normalise(text, loaded.manifest.normalisation) for text in texts])
    for text in texts:
        describe(text, loaded.vocabulary)
    return time.thread_time() - start

"""How many texts a second a version takes: measured before the first request, corrected by every large batch."""

import random
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from broker.errors import SettingsError
from broker.events import MAX_TEXT_CHARACTERS
from broker.settings import BrokerSettings
from broker.text import describe, normalise
from worker.models import Loaded
from worker.settings import WorkerSettings

LEAST_BATCH: Final = 8  # a smaller one says how fast a text is, not how many a full batch takes along
MEMORY: Final = 0.9  # share of the old figure that remains
USUAL: Final = 16  # texts that are tried: as many as share a chunk
LONGEST: Final = 2  # of the longest texts are tried; each has a chunk of its own, so a batch takes in proportion
WORDS: Final = 20  # of a usual text
CHARACTERS: Final = 120  # of a usual text
LOOK_MS: Final = 1000  # most time between two looks for idle entries


class Speed:
    """Texts per second of one version on this worker when it is busy, and how many it takes at once."""

    def __init__(self, texts_per_second: float, batch: int) -> None:
        self.texts_per_second = texts_per_second
        self.batch = batch

    def learn(self, texts: int, seconds: float) -> None:
        """Take a batch of *texts* that took *seconds* into account."""
        if texts >= LEAST_BATCH and seconds > 0:
            self.texts_per_second = MEMORY * self.texts_per_second + (1 - MEMORY) * texts / seconds

    def expected_s(self, texts: Sequence[str]) -> float:
        """Return how long *texts* should take: by their number, or by their size where they are long."""
        return max(len(texts), sum(map(len, texts)) / CHARACTERS) / self.texts_per_second


class Warmth(NamedTuple):
    """What a warm-up measured, in CPU time of the one thread, so that a busy machine makes no difference."""

    texts_per_second: float
    slowest_batch_s: float


def warm_up(loaded: Loaded, batch: int) -> Warmth:
    """Run usual texts and some of the longest that are accepted, and say how long *batch* of those would take."""
    words = sorted(loaded.vocabulary) or ["word", "another"]
    draw = random.Random(0)
    usual = [" ".join(draw.choices(words, k=WORDS)) for _ in range(USUAL)]
    longest = [(" ".join(draw.choices(words, k=MAX_TEXT_CHARACTERS)))[:MAX_TEXT_CHARACTERS] for _ in range(LONGEST)]
    _time(loaded, longest[:1])  # the first run pays for memory that later ones reuse
    return Warmth(USUAL / max(_time(loaded, usual), 1e-9), _time(loaded, longest) * batch / LONGEST)


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


def batch_that_fits(settings: WorkerSettings, model: str, slowest_batch_s: float) -> int:
    """Return how many entries may be read at once so that a slow batch does not look like a dead worker.

    *slowest_batch_s* is what `worker_batch` of the longest texts took; three batches must fit into the claim time.

    Raises:
        SettingsError: not even one text at a time fits.

    """
    slowest_text_s = slowest_batch_s / settings.worker_batch
    fits = int(settings.claim_ms / 1000 / (3 * slowest_text_s)) if slowest_text_s else settings.worker_batch
    if fits < 1:
        raise SettingsError(
            f"OBSERVA_CLAIM_MS={settings.claim_ms} is less than three of the slowest texts of {model}; "
            f"set it to {round(3000 * slowest_text_s)} or more"
        )
    return min(fits, settings.worker_batch)


def _time(loaded: Loaded, texts: list[str]) -> float:
    start = time.thread_time()
    loaded.model.predict([normalise(text, loaded.manifest.normalisation) for text in texts])
    for text in texts:
        describe(text, loaded.vocabulary)
    return time.thread_time() - start

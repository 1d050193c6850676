"""A real worker with one more kind of model: it is slow, raises or dies when the text says so."""

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence

from broker.manifest import ModelManifest
from tests.live.strange import positive
from worker.app import main
from worker.models import LOADERS, Scores


class Strange:
    """Says positive to texts with "good"; obeys RAISE, KILL and SLEEP-milliseconds in a text."""

    def __init__(self, manifest: ModelManifest, _files: Mapping[str, bytes]) -> None:
        self.manifest = manifest

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        for text in texts:
            if "KILL" in text:
                os.kill(os.getpid(), signal.SIGKILL)
            if "RAISE" in text:
                raise RuntimeError("as the text says")
            if found := re.search(r"SLEEP-(\d+)", text):
                time.sleep(int(found[1]) / 1000)
        return [Scores((1 - positive(text), positive(text)), len(text.split()), truncated=False) for text in texts]


LOADERS["strange"] = Strange

if __name__ == "__main__":
    raise SystemExit(main())

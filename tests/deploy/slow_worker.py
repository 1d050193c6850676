"""A real worker with a model that takes 20 ms a text and no processor, so that more workers always help."""

import time
from collections.abc import Mapping, Sequence

import worker.speed
from broker.manifest import ModelManifest
from worker.app import main
from worker.models import LOADERS, Loaded, Scores

TEXT_S = 0.02


class Slow:
    def __init__(self, manifest: ModelManifest, _files: Mapping[str, bytes]) -> None:
        self.manifest = manifest

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        time.sleep(TEXT_S * len(texts))
        return [Scores((0.25, 0.75), 8, truncated=False)] * len(texts)


def waiting_time(_loaded: Loaded, texts: list[str]) -> float:
    """The warm-up's, which counts processor time alone."""
    return TEXT_S * len(texts)


LOADERS["slow"] = Slow
worker.speed._time = waiting_time

if __name__ == "__main__":
    raise SystemExit(main())

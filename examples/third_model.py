"""A third kind of model in one class and one line: it counts words of praise and of blame.

``OBSERVA_WORKER_SLOT=60 .venv/bin/python -m examples.third_model``, run beside ``just up``, is one worker more. It
knows this kind beside the others; the slot gives it a metrics port that no other worker has.
"""

from collections.abc import Mapping, Sequence

from broker.manifest import ModelManifest
from worker.app import main
from worker.models import LOADERS, Scores


class WordCounter:
    """Reads ``words.txt``: on each line one word and the label it speaks for."""

    def __init__(self, manifest: ModelManifest, files: Mapping[str, bytes]) -> None:
        self.manifest = manifest
        self._label_of = dict(line.split() for line in files["words.txt"].decode().splitlines())

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        """Give each label its share of the words that speak for one, plus one for every label."""
        return [self._score(text.split()) for text in texts]

    def _score(self, words: list[str]) -> Scores:
        found = [self._label_of.get(word) for word in words]
        counts = [1 + found.count(label) for label in self.manifest.labels]
        return Scores(tuple(count / sum(counts) for count in counts), tokens=len(words), truncated=False)


LOADERS["word-counter"] = WordCounter

if __name__ == "__main__":
    main()

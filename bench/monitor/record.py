"""Make the recorded answers of the benchmarks: what the shipped model says of real texts, as numbers without a text.

Downloads the labelled texts by pinned digest on the first run: ``python -m bench.monitor.record``.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.monitor.answers import RECORDED, VERSION
from broker.text import describe, normalise
from trainer.datasets import examples, read_dataset
from trainer.params import Params, read_params
from trainer.settings import TrainerSettings
from trainer.splits import Example, split
from worker.models import Loaded, load_version

DOMAINS: Final = ("movies", "amazon", "tweets", "nyt")
MOST: Final = 1500  # texts of a domain
MILLION: Final = 1_000_000


def main() -> None:
    """Write an array a domain, and one of movies cut to half their words."""
    params = read_params()
    loaded = load_version(VERSION)
    arrays = {domain: _answers(loaded, _texts(domain, params)[:MOST]) for domain in DOMAINS}
    held = split(_texts("movies", params))
    for name, part in (("valid", held.valid), ("test", held.test)):
        arrays[f"movies_{name}"] = _answers(loaded, part[:MOST])
    halves = [Example(" ".join(text.split()[: (len(text.split()) + 1) // 2]), label) for text, label in held.test]
    arrays["truncated"] = _answers(loaded, halves[:MOST])
    del arrays["movies"]
    RECORDED.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(RECORDED, **arrays)  # type: ignore[arg-type]
    for name, array in arrays.items():
        right = ((array[:, 5] > MILLION // 2) == array[:, 7]).mean()
        print(f"{name}: {len(array)} texts, accuracy {right:.3f}")
    print(f"{RECORDED}: {RECORDED.stat().st_size} bytes")


def _texts(domain: str, params: Params) -> list[Example]:
    return examples(read_dataset(domain, params, TrainerSettings().trainer_cache), ("negative", "positive"))


def _answers(loaded: Loaded, examples: list[Example]) -> NDArray[np.int32]:
    """Return a row of `COLUMNS` a text."""
    rows = []
    for text, truth in examples:
        scores = loaded.model.predict([normalise(text, loaded.manifest.normalisation)])[0]
        counted = describe(text, loaded.vocabulary)
        shares = (counted.oov_ratio, counted.non_latin_ratio, scores.probabilities[1])
        whole = [round(share * MILLION) for share in shares]
        found = [round(1000 * coordinate) for coordinate in scores.embedding or ()]
        rows.append([counted.characters, counted.words, scores.tokens, *whole, int(scores.truncated), truth, *found])
    return np.array(rows, dtype=np.int32)


if __name__ == "__main__":
    main()

"""``python -m trainer.unpickle FILE FOLDER``: a scikit-learn pickle as arrays. A pickle is a program: this runs it.

Started by ``import-model --trust-pickle`` alone, in a process of its own that ends here; nothing else reads pickles.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np

from broker.bag import Bag
from broker.errors import ObservaError
from trainer.bag import NotABagError, bag_of

MOST_MEMORY: Final = 8 << 30  # bytes of addresses
MOST_CPU_S: Final = 300


def main() -> None:
    """Write the arrays into FOLDER, with the labels and how far the arrays are from the pipeline."""
    source, folder = map(Path, sys.argv[1:3])
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
    pipeline = joblib.load(source)
    model = bag_of(pipeline)
    for name, content in model.files().items():
        (folder / name).write_bytes(content)
    found = {"labels": [str(label) for label in pipeline.classes_], "lowercase": model.lowercase}
    (folder / "found.json").write_text(json.dumps(found | _difference(pipeline, model)), encoding="utf-8")


def _difference(pipeline: Any, model: Any) -> dict[str, float]:
    """Return the largest difference of a probability on texts of the pipeline's own words, and the agreement."""
    draw = np.random.default_rng(0)
    texts = ["", *(" ".join(draw.choice(model.terms, draw.integers(1, 40))) for _ in range(199))]
    bag = Bag(model.settings, model.terms, model.weights)
    expected = pipeline.predict_proba(texts)
    found = bag.probabilities([bag.words(text.lower() if model.lowercase else text) for text in texts])
    return {
        "agreement_source": float((expected.argmax(axis=1) == found.argmax(axis=1)).mean()),
        "probability_difference_source": float(np.abs(expected - found).max()),
    }


if __name__ == "__main__":
    try:
        main()
    except NotABagError as error:
        sys.exit(str(error))
    except (ObservaError, OSError, MemoryError) as error:
        sys.exit(f"{type(error).__name__}: {error}")

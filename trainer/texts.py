"""Real labelled texts as one JSON file, for `just demo-drift`: ``python -m trainer.texts FILE``. Needs no torch."""

import json
import sys
from pathlib import Path
from typing import Final

from broker.errors import ObservaError
from trainer.data import examples_of, fetch
from trainer.params import read_params
from trainer.settings import TrainerSettings
from trainer.splits import split

DOMAINS: Final = ("movies", "tweets")
LABELS: Final = ("negative", "positive")


def write(file: Path) -> None:
    """Write domain to ``[text, label]`` pairs: only texts of the test split, which no shipped model was fitted on.

    Raises:
        DataError, SettingsError: the archive cannot be had, or the parameters cannot be read.

    """
    params = read_params()
    vader = fetch(params.archives["vader"], TrainerSettings().trainer_cache)
    texts = {
        domain: [[example.text, LABELS[example.label]] for example in split(examples_of(domain, params, vader)).test]
        for domain in DOMAINS
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(file)


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]))
    except ObservaError as error:
        sys.exit(f"observa demo-drift: {error}")

"""Real labelled texts as one JSON file, for `just demo-drift`: ``python -m trainer.texts FILE``. Needs no torch."""

import json
import sys
from pathlib import Path
from typing import Final

from broker.errors import ObservaError
from broker.settings import load_settings
from trainer.datasets import read_dataset, shared_out
from trainer.params import read_params
from trainer.settings import TrainerSettings

DOMAINS: Final = ("movies", "tweets")
LABELS: Final = ("negative", "positive")


def write(file: Path) -> None:
    """Write domain to ``[text, label]`` pairs: only texts of the test split, which no shipped model was fitted on.

    Raises:
        DataError, SettingsError: the archive cannot be had, or the parameters cannot be read.

    """
    params = read_params()
    cache = load_settings(TrainerSettings).trainer_cache
    domains = {domain: shared_out(read_dataset(domain, params, cache), LABELS) for domain in DOMAINS}
    texts = {
        domain: [[example.text, LABELS[example.label]] for example in parts.test] for domain, parts in domains.items()
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

"""Stage ``prepare``: the data sets of a model as JSON lines, split, and a card that counts them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from broker.text import normalise
from trainer.cards import card_of, page_of
from trainer.data import DataError
from trainer.datasets import Dataset, read_dataset, shared_out
from trainer.params import ModelParams, Params
from trainer.splits import SAME_TEXT, Example, Splits, joined

SLICES = "slices"  # folder of test texts of each data set


class Prepared(NamedTuple):
    """What a model learns from and is judged by; labels are ids."""

    splits: Splits
    slices: dict[str, list[Example]]  # test texts of single data sets, by name


def prepare(name: str, params: Params, cache: Path, folder: Path) -> Prepared:
    """Write the texts of model *name* into *folder*, which is emptied first, and return them.

    Raises:
        DataError: a data set cannot be had, has unknown labels, or leaves nothing to learn from.

    """
    chosen = params.models[name]
    sets = [read_dataset(each, params, cache) for each in (*chosen.train_on, *chosen.judge_on)]
    found = together(sets, chosen)
    require_learnable(found.splits, chosen.labels)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / SLICES).mkdir(parents=True)
    for part, examples in found.splits._asdict().items():
        _write(folder / f"{part}.jsonl", examples, chosen.labels)
    for each, examples in found.slices.items():
        _write(folder / SLICES / f"{each}.jsonl", examples, chosen.labels)
    card = card_of(name, sets, found.splits, chosen.labels)
    (folder / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(page_of(card), encoding="utf-8")
    return found


def together(sets: Sequence[Dataset], params: ModelParams) -> Prepared:
    """Join the splits of the data sets a model learns from; a text that several of them hold counts once."""
    parts = {each.name: shared_out(each, params.labels) for each in sets}
    splits = joined(parts[each] for each in params.train_on)
    learnt = {normalise(text, SAME_TEXT) for text, _ in (*splits.train, *splits.valid)}
    names = (*(params.train_on if len(params.train_on) > 1 else ()), *params.judge_on)
    slices = {
        each: [example for example in parts[each].test if normalise(example.text, SAME_TEXT) not in learnt]
        for each in names
    }
    return Prepared(splits, slices)


def require_learnable(splits: Splits, labels: Sequence[str]) -> None:
    """Refuse data from which no model of *labels* can be made and judged.

    Raises:
        DataError: a part is empty, or a label has no text to learn from.

    """
    for part, examples in splits._asdict().items():
        if not examples:
            raise DataError(
                f"the {part} part holds no text; a model needs some to learn from, to choose by, to be judged"
            )
    learnt = {example.label for example in splits.train}
    if missing := [label for position, label in enumerate(labels) if position not in learnt]:
        only = f"; all texts are {labels[learnt.pop()]!r}" if len(learnt) == 1 else ""
        raise DataError(f"no text to learn from has the label {', '.join(map(repr, missing))}{only}")


def read_prepared(folder: Path, labels: Sequence[str]) -> Prepared:
    """Return what `prepare` wrote into *folder*.

    Raises:
        DataError: it is not there, or is not whole.

    """
    ids = {label: position for position, label in enumerate(labels)}
    try:
        splits = Splits(*(_read(folder / f"{part}.jsonl", ids) for part in Splits._fields))
        slices = {path.stem: _read(path, ids) for path in sorted((folder / SLICES).glob("*.jsonl"))}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} does not hold prepared data ({error}); run the stage prepare again") from error
    return Prepared(splits, slices)


def _write(path: Path, examples: Sequence[Example], labels: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for text, label in examples:
            file.write(json.dumps({"text": text, "label": labels[label]}, ensure_ascii=False) + "\n")


def _read(path: Path, ids: Mapping[str, int]) -> list[Example]:
    with path.open(encoding="utf-8") as file:
        records = map(json.loads, file)
        return [Example(record["text"], ids[record["label"]]) for record in records]

"""The data card: how many texts of which label and length a model learns from, and what was left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.datasets import Dataset
from trainer.splits import Example, Splits, digest

QUANTILES = (0.05, 0.5, 0.95, 1.0)


def card_of(name: str, sets: Sequence[Dataset], splits: Splits, labels: Sequence[str]) -> dict[str, Any]:
    """Return the card of the data of model *name*: counts and lengths, and no text."""
    return {
        "model": name,
        "digest": digest(splits),
        "parts": {part: _figures(examples, labels) for part, examples in splits._asdict().items()},
        "data_sets": {
            each.name: {
                "texts": len(each.rows),
                "digest": each.digest,
                "split": each.split,
                "labels": dict(sorted(Counter(row.label for row in each.rows).items())),
                "left_out": each.left_out,
            }
            for each in sets
        },
    }


def page_of(card: Mapping[str, Any]) -> str:
    """Return *card* in Markdown."""
    labels = list(next(iter(card["parts"].values()))["labels"])
    lines = [
        f"# Data of {card['model']}",
        "",
        f"Digest of labels, parts and normalised texts: `{card['digest']}`",
        "",
        f"| part | texts | {' | '.join(labels)} | words: 5 % | median | 95 % | most |",
        "|---" * (len(labels) + 6) + "|",
    ]
    for part, figures in card["parts"].items():
        shares = (f"{figures['labels'][label] / figures['texts']:.1%}" if figures["texts"] else "-" for label in labels)
        cells = (part, figures["texts"], *shares, *figures["words"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| data set | texts | split by | left out |", "|---|---|---|---|"]
    for name, figures in card["data_sets"].items():
        left_out = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in figures["left_out"].items())
        lines.append(f"| {name} | {figures['texts']} | {figures['split']} | {left_out or 'nothing'} |")
    return "\n".join(lines) + "\n"


def _figures(examples: Sequence[Example], labels: Sequence[str]) -> dict[str, Any]:
    counts = Counter(example.label for example in examples)
    return {
        "texts": len(examples),
        "labels": {label: counts[position] for position, label in enumerate(labels)},
        "words": _quantiles([len(example.text.split()) for example in examples]),
        "characters": _quantiles([len(example.text) for example in examples]),
    }


def _quantiles(lengths: Sequence[int]) -> list[int]:
    return [int(value) for value in np.quantile(lengths, QUANTILES, method="inverted_cdf")] if lengths else [0] * 4

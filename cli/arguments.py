"""What several commands accept."""

import argparse
import re
from argparse import ArgumentParser

from broker.manifest import NAME_PATTERN
from broker.settings import BrokerSettings
from broker.streams import Tag


def name(text: str) -> str:
    """Read the name of a model or a version; an argparse type."""
    if not re.fullmatch(NAME_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: lower-case letters, digits, '.', '_' and '-'")
    return text


def positive(text: str) -> int:
    """Read a whole number above 0; an argparse type."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def add_model(parser: ArgumentParser) -> None:
    """Accept ``--model``; the attribute is absent where it was not given."""
    parser.add_argument("--model", type=name, default=argparse.SUPPRESS, help="model name (default: OBSERVA_MODEL)")


def tags_of(args: argparse.Namespace, settings: BrokerSettings) -> list[Tag]:
    """Return the tag of each shard of the model that was asked for."""
    model = getattr(args, "model", settings.model)
    return [Tag(model, shard) for shard in range(settings.shards)]

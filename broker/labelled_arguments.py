"""What a person may say of a file of texts, the same words for every command."""

import argparse

from broker.delimited import DELIMITERS, QUOTES
from broker.tables import Asked


def add_arguments(parser: argparse.ArgumentParser, label: str | None) -> None:
    """Accept what a person may say of a file; *label* is the column of the labels unless another is named."""
    parser.add_argument("--text", "--text-field", default="text", metavar="COLUMN", help="of the texts: %(default)s")
    parser.add_argument(
        "--label", "--label-field", default=label, metavar="COLUMN", help=f"of the true labels: {label or 'none'}"
    )
    parser.add_argument("--map", type=_mapping, default={}, metavar="0=negative,1=positive", help="labels to ours")
    parser.add_argument("--skip-bad", action="store_true", help="leave wrong rows out, and list them")
    parser.add_argument("--encoding", metavar="NAME", help="where it is neither UTF-8 nor UTF-16 nor cp1252")
    parser.add_argument("--delimiter", type=_delimiter, metavar="CHARACTER", help="comma, tab, ... (default: found)")
    parser.add_argument("--quotes", choices=QUOTES, help="what quotes mean in delimited text (default: found)")
    parser.add_argument("--no-header", dest="header", action="store_false", help="columns are 1, 2, 3")


def asked(chosen: argparse.Namespace) -> Asked:
    """Return what was asked with these arguments."""
    return Asked(
        text=chosen.text,
        label=chosen.label,
        mapping=chosen.map,
        skip_bad=chosen.skip_bad,
        encoding=chosen.encoding,
        delimiter=chosen.delimiter,
        quotes=chosen.quotes,
        header=chosen.header,
    )


def _mapping(text: str) -> dict[str, str]:
    pairs = [pair.rpartition("=") for pair in text.split(",")]
    found = {key.strip(): value.strip() for key, _, value in pairs}
    if len(found) < len(pairs) or not all(found) or not all(found.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0=negative,1=positive")
    return found


def _delimiter(text: str) -> str:
    found = next((each for each, name in DELIMITERS.items() if text in {name, repr(each)[1:-1]}), text)
    if len(found) != 1 or found in "\"'\\\r\n\0":
        raise argparse.ArgumentTypeError(f"{text!r} is not one character that may part cells")
    return found

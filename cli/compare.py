"""``compare``: two versions of a model by what they answered, as a table, a page and JSON."""

import argparse
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from broker.comparison import document
from broker.errors import ObservaError
from broker.printing import json_text
from broker.streams import Tag
from broker.versus import MOST, Versus, read_versus
from cli.alerts import now_ms
from cli.arguments import name
from cli.compare_page import page
from cli.log import since
from cli.reading import opened
from cli.scorecard import make_room, write_metrics
from cli.settings import CliSettings
from cli.terminal import columns, note, percent, printable

NOTHING: Final = "no text was answered by both"


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``compare``."""
    parser.add_argument("model", type=name, metavar="MODEL")
    parser.add_argument("first", type=name, metavar="A", help="a version, as a rule the live one")
    parser.add_argument("second", type=name, metavar="B", help="another, as a rule a shadow or the canary")
    parser.add_argument("--since", type=since, help="90m, 24h, 7d ago, or a time (default: all that is kept)")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output, and no files")
    parser.add_argument("--output", type=Path, default=Path("reports"), metavar="DIR", help="default: %(default)s")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Print the table and write page and JSON, or only print JSON."""
    if args.first == args.second:
        raise ObservaError(f"{args.first} is one version; name two")
    stem = f"{args.model}-{args.first}-{args.second}"
    files = [args.output / f"{stem}.json", args.output / f"{stem}.html"]
    for file in () if args.json else files:
        make_room(file)
    async with opened(settings) as redis:
        until_ms = int(await now_ms(redis))
        ago, ms = args.since or (False, 0)
        since_ms = max(until_ms - ms, 0) if ago else ms
        tags = [Tag(args.model, shard) for shard in range(settings.shards)]
        versus = await read_versus(redis, tags, (args.first, args.second), since_ms, until_ms)
    found = document(args.model, versus) | {"since_ms": since_ms, "until_ms": until_ms}
    _check(args.model, versus)
    if args.json:
        print(json_text(found, orjson.OPT_INDENT_2))
        return 0
    write_metrics(files[0], found)
    try:
        files[1].write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise ObservaError(f"{files[1]}: {error.strerror}; choose another place with --output") from None
    print("\n".join(lines(found)))
    print(f"\nkept in {files[1]} and {files[0]}")
    return 0


def _check(model: str, versus: Versus) -> None:
    """Make sure that there is something to compare.

    Raises:
        ObservaError: one of the versions answered nothing.

    """
    for version, answers in zip(versus.versions, versus.answers, strict=True):
        if not answers:
            raise ObservaError(
                f"the log holds no answer of {model} {version}; let it answer beside the live version: "
                f"just shadow {model} {version}"
            )
    if versus.cut:
        note(f"warning: more than {MOST:,} entries; the newest are left out; choose a later --since")
    if versus.evaluations:
        note(f"{versus.evaluations:,} answers of evaluation runs are left out")


def lines(found: dict[str, Any]) -> list[str]:
    """Return what a person reads."""
    names = [found["first"], found["second"]]
    both = [found["versions"][version] for version in names]
    rows = [
        ("", *names),
        ("answers", *(f"{one['answers']:,}" for one in both)),
        ("of these as a shadow", *(f"{one['as_shadow']:,}" for one in both)),
        ("failed", *(f"{one['failed']:,}" for one in both)),
        *((f"inference {key}, a text", *(_ms(one["inference_ms"][key]) for one in both)) for key in ("p50", "p95")),
        (f"accuracy, {'paired' if found['mcnemar'] else 'each of its own texts'}", *(_accuracy(one) for one in both)),
    ]
    agreement, difference, gate = found["agreement"], found["difference"], found["gate"]
    return [
        f"{found['model']}: {printable(names[0])} and {printable(names[1])}",
        "",
        *columns(rows, right=frozenset({1, 2})),
        "",
        f"agreement   {percent(agreement['share'])} of {found['both']:,}"
        if found["both"]
        else f"agreement   {NOTHING}",
        *(
            f"            {one['count']:,} times {one['first']}, then {one['second']}"
            for one in found["flips"]["kinds"]
        ),
        *_flip_lines(found["flips"]["surest"][:5]),
        f"difference  {_points(difference['mean'])}",
        f"            {_points(difference['lower'])} to {_points(difference['upper'])}, however often one looks",
        *_mcnemar_lines(found["mcnemar"]),
        f"so far      {gate['decision']}: {gate['why']}{_more(gate)}",
    ]


def _flip_lines(surest: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"            {one['id']}  {one['first'] or 'failed'} {one['first_confidence']:.3f}, "
        f"{one['second'] or 'failed'} {one['second_confidence']:.3f}, truth {one['truth'] or '-'}"
        for one in surest
    ]


def _mcnemar_lines(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return []
    right = f"only the first right {found['only_first']:,}, only the second {found['only_second']:,}"
    return [f"McNemar     {right}: p = {found['p']:.3g}, for one look"]


def _more(gate: dict[str, Any]) -> str:
    if gate["decision"] != "undecided":
        return ""
    more = gate["more_labels"]
    return f"; about {more:,} more labels are likely needed" if more else "; more labels of this kind will not decide"


def _accuracy(one: dict[str, Any]) -> str:
    return f"{percent(one['accuracy']['accuracy'])} of {one['accuracy']['labels']:,}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f} points"

"""``predict``: classify texts and show the answers."""

import argparse
from argparse import ArgumentParser
from typing import Any

from broker.errors import ObservaError
from broker.printing import json_text
from cli.api import connected, predict_path
from cli.arguments import add_model, name
from cli.settings import CliSettings
from cli.terminal import bar, columns, console, percent, styled


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``predict``."""
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="what to classify; several are sent in one call")
    add_model(parser)
    parser.add_argument("--version", type=name, help="answer with this version (default: the live one)")
    parser.add_argument("--label", help="the true label, recorded as feedback for each text")
    parser.add_argument("--json", action="store_true", help="print the gateway's JSON, one line per text")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Classify; 0 when every text got an answer, 1 otherwise."""
    model = getattr(args, "model", settings.model if args.version else None)
    body: dict[str, Any] = {"text": args.texts[0]} if len(args.texts) == 1 else {"texts": args.texts}
    if args.label is not None:
        body["true_label"] = args.label if len(args.texts) == 1 else [args.label] * len(args.texts)
    async with connected(settings) as gateway:
        answer = await gateway.post(predict_path(model, args.version), body)
    answers = answer.get("predictions", [answer])
    if len(answers) != len(args.texts):
        raise ObservaError(f"the gateway answered {len(answers)} of {len(args.texts)} texts; its version differs?")
    for one in answers:
        if args.json:
            print(json_text(one))
        elif "error" in one:
            print(f"failed: {one['error']['code']} ({one['error']['status']})\n  {one['id']}")
        else:
            _show(one)
    return int(any("error" in one for one in answers))


def _show(prediction: dict[str, Any]) -> None:
    out, timing = console(), prediction["timing_ms"]
    remarks = [word for word in ("abstained", "truncated") if prediction.get(word)]
    out.print(
        styled(
            (prediction["label"], "bold"),
            (f"  {percent(prediction['confidence'])}", "bold"),
            (f"  {prediction['model']} {prediction['version']}", "dim"),
            ("".join(f"  {word}" for word in remarks), "yellow"),
        )
    )
    shares = prediction["probabilities"]
    rows = [(label, percent(share), bar(share)) for label, share in sorted(shares.items(), key=lambda item: -item[1])]
    for line in columns(rows, right=frozenset({1})):
        out.print(styled((f"  {line}", "")))
    times = ", ".join(f"{part} {timing[part]:.1f} ms" for part in ("queue", "inference", "total"))
    out.print(styled((f"  {times}", "dim")))
    out.print(styled((f"  id {prediction['id']}", "dim")))

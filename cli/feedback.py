"""``feedback``: tell the monitor what was right."""

import argparse
from argparse import ArgumentParser

from broker.errors import ObservaError
from broker.streams import PredictionId
from cli.api import RefusedError, connected
from cli.settings import CliSettings
from cli.terminal import printable

OUTCOMES = {
    "same": "recorded before, nothing changed",
    "replaced": "recorded; it replaces an earlier label",
    "parked": "recorded; it counts as soon as the prediction is there",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``feedback``."""
    parser.add_argument("id", metavar="ID", help="the id that predict printed")
    parser.add_argument("label", metavar="LABEL", help="the true label")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Send one label; 0 once it is on record."""
    try:
        model = PredictionId.parse(args.id).tag.model
    except ValueError:
        raise ObservaError(f"{args.id!r} is not a prediction's id; predict and log print them") from None
    async with connected(settings) as gateway:
        try:
            answer = await gateway.post("/feedback", {"id": args.id, "label": args.label})
        except RefusedError as error:
            if error.code == "not_found":
                raise ObservaError(f"there is no prediction {args.id}; predict and log print ids") from None
            if error.code == "bad_label":
                labels = await gateway.labels(model, None)
                raise ObservaError(f"{args.label!r} is not a label of {model}; use {' or '.join(labels)}") from None
            raise
    print(f"{args.id} is {printable(args.label)}: {OUTCOMES.get(answer.get('status', ''), 'recorded')}")
    return 0

"""``models``: every version of the store with its metrics, what it is wanted for, and who has it loaded."""

import argparse
import asyncio
from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from broker.announcements import Announcement
from broker.changes import tell
from broker.errors import ModelRefusedError, ObservaError
from broker.manifest import ModelManifest, Pointer
from broker.printing import json_text
from broker.store import Store, store_of
from broker.versions import wanted
from cli.arguments import name
from cli.pointing import perhaps
from cli.registry import move_aliases
from cli.settings import CliSettings
from cli.terminal import columns, note, percent, printable
from cli.trying import live_workers


@dataclass(frozen=True, slots=True)
class Listed:
    """One version: what it says of itself, or why that cannot be read."""

    version: str
    manifest: ModelManifest | None
    problem: str = ""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``models``."""
    parser.add_argument("model", type=name, metavar="MODEL", nargs="?", help="default: all of the store")
    parser.add_argument("--json", action="store_true", help="everything, as one document")
    parser.add_argument(
        "--mirror", action="store_true", help="bring Redis and MLflow's registry in line with the store, then list"
    )


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """List, and mirror if asked; 1 where mirroring failed."""
    store = store_of(settings)
    names = await asyncio.to_thread(store.models)
    if args.model and args.model not in names:
        raise ObservaError(
            f"{store} has no model {args.model} with a live.json; there are: {', '.join(names) or 'none'}"
        )
    chosen = [args.model] if args.model else names
    if not chosen:
        raise ObservaError(f"{store} has no model; check OBSERVA_MODELS, or train one: just train sentiment")
    async with perhaps(settings) as redis:
        status = max([await _mirror(store, redis, model) for model in chosen]) if args.mirror else 0
        documents = [await _describe(store, redis, model) for model in chosen]
    if args.json:
        print(json_text({"models": documents}, orjson.OPT_INDENT_2))
    else:
        _print(documents)
    return status


async def _mirror(store: Store, redis: Redis | None, model: str) -> int:
    untold = await tell(store, redis, model)
    if untold:
        note(f"{model}: Redis is not told ({untold})")
    missed = await move_aliases(model, await asyncio.to_thread(store.pointer, model))
    if missed:
        note(f"{model}: the registry is not told ({printable(missed)})")
    return int(bool(untold or missed))


async def _describe(store: Store, redis: Redis | None, model: str) -> dict[str, Any]:
    pointer = await asyncio.to_thread(store.pointer, model)
    versions = await asyncio.to_thread(_versions, store, model, pointer)
    workers = await live_workers(redis, model) if redis is not None else []
    known = await wanted(redis, model) if redis is not None else None
    return {
        "name": model,
        "wanted": pointer.model_dump(),
        "workers": len(workers),
        "redis_agrees": None if redis is None or known is None else known == pointer,
        "versions": [_version(one, pointer, workers) for one in versions],
    }


def _versions(store: Store, model: str, pointer: Pointer) -> list[Listed]:
    """Return every version that is there or wanted, oldest first."""
    found = []
    for version in {*store.versions(model), pointer.version}:
        try:
            found.append(Listed(version, store.manifest(model, version)))
        except ModelRefusedError as error:
            found.append(Listed(version, None, str(error)))
    return sorted(found, key=lambda one: (one.manifest.created if one.manifest else "", one.version))


def _version(one: Listed, pointer: Pointer, workers: list[Announcement]) -> dict[str, Any]:
    refused = [worker.refused[one.version] for worker in workers if one.version in worker.refused]
    document: dict[str, Any] = {
        "version": one.version,
        "role": _role(one.version, pointer),
        "loaded_by": sum(one.version in worker.loaded for worker in workers),
        "refused_by": len(refused),
        "problem": one.problem or (refused[0] if refused else ""),
    }
    return document | (one.manifest.model_dump(mode="json", exclude={"name", "version"}) if one.manifest else {})


def _role(version: str, pointer: Pointer) -> str:
    if version == pointer.version:
        return "live"
    if pointer.canary and version == pointer.canary.version:
        return f"canary {percent(pointer.canary.share)}"
    if version in pointer.shadows:
        return f"shadow {percent(pointer.shadows[version])}"
    return "previous" if version == pointer.previous else ""


def _print(documents: list[dict[str, Any]]) -> None:
    rows: list[tuple[str, ...]] = [
        ("MODEL", "VERSION", "ROLE", "ACCURACY", "F1", "TARGET", "KIND", "CREATED", "LOADED BY")
    ]
    rows += [_row(document, version) for document in documents for version in document["versions"]]
    for line in columns(rows, right=frozenset({3, 4, 5})):
        print(line)
    for document in documents:
        for version in document["versions"]:
            if version["problem"]:
                note(f"{document['name']} {version['version']}: {printable(version['problem'])}")
        if document["redis_agrees"] is False:
            note(f"{document['name']}: Redis does not say what the store says: just models {document['name']} --mirror")


def _row(document: dict[str, Any], version: dict[str, Any]) -> tuple[str, ...]:
    metrics = version.get("metrics", {})
    return (
        document["name"],
        printable(version["version"]),
        version["role"] or "-",
        percent(metrics.get("accuracy")),
        percent(metrics.get("f1_macro")),
        percent(version.get("target_accuracy")),
        printable(version.get("kind", "damaged")),
        printable(version.get("created", "-")),
        f"{version['loaded_by']} of {document['workers']}",
    )

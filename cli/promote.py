"""``promote``: verify a version, copy it into the store, make it live."""

import argparse
import asyncio
import importlib.util
import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Final

import orjson
from redis.asyncio import Redis

from broker.changes import begin, change
from broker.errors import BrokerUnavailableError, ModelRefusedError
from broker.manifest import ModelManifest, Pointer, read_verified
from broker.store import Store, store_of
from cli import gating
from cli.arguments import name
from cli.pointing import follow_up, perhaps
from cli.settings import CliSettings
from cli.terminal import note, printable

ROOT: Final = Path(__file__).parents[1]


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``promote``."""
    parser.add_argument("model", type=name, metavar="MODEL")
    parser.add_argument("version", type=name, metavar="VERSION")
    parser.add_argument(
        "--from", dest="folder", type=Path, metavar="FOLDER", help="where the version lies (default: the store)"
    )
    gating.add_arguments(parser)


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Verify it and make it live; 1 where workers do not take it."""
    store = store_of(settings)
    async with perhaps(settings) as redis:
        seen = await _pointer(store, args.model)
        if gating.is_asked(args):
            status = await _gate(redis, settings, args, seen)
            if status != gating.GO:
                return status
        await prepare(store, settings, args.model, args.version, args.folder, seen)
        return await promote(store, redis, args.model, args.version, seen)


async def _gate(redis: Redis | None, settings: CliSettings, args: argparse.Namespace, seen: Pointer | None) -> int:
    """Return what the labels say of the version."""
    if seen is None or seen.version == args.version:
        raise ModelRefusedError(
            f"{args.model} {args.version} has no other version beside it; promote it without a gate"
        )
    if redis is None:
        raise BrokerUnavailableError("the gate reads the log, which cannot be reached; run: just up")
    return await gating.Gate(redis, settings, args.model, args.version, seen).passes(args.after)


async def prepare(  # noqa: PLR0913, PLR0917 what is looked at before a version may be live
    store: Store, settings: CliSettings, model: str, version: str, folder: Path | None, seen: Pointer | None
) -> None:
    """Verify a version and have it in the store.

    Raises:
        ModelRefusedError: it may not serve; nothing was changed.
        StoreError: the store cannot be read or written.

    """
    place = folder or await _place(store, settings, model, version)
    manifest, _ = await asyncio.to_thread(read_verified, place)
    if (manifest.name, manifest.version) != (model, version):
        raise ModelRefusedError(f"{place}: model.json is of {manifest.name} {manifest.version}, not {model} {version}")
    if seen is not None and seen.version != version:
        await _say_other_labels(store, manifest, seen)
    if "reference.json" not in manifest.files:
        note(f"{model} {version} has no reference: the monitor counts it and sees no drift; see: just reference")
    await try_out(place)
    await asyncio.to_thread(store.add, place)


async def promote(store: Store, redis: Redis | None, model: str, version: str, seen: Pointer | None) -> int:
    """Make a version of the store live, tell everybody, and return the exit status.

    Raises:
        PointerMovedError: someone else changed what is wanted since it was *seen*.

    """

    def alter(pointer: Pointer) -> Pointer:
        return pointer.promoted(version)

    if seen is None:
        changed = await begin(store, redis, model, version)
    else:
        changed = await change(store, redis, model, alter, seen=seen)
    if seen is not None and seen.version == version:
        print(f"{model} {version} is live already (generation {seen.generation})")
    else:
        before = f"; before it {seen.version}, back with: just rollback {model}" if seen else ""
        print(f"{model} {version} is live (generation {changed.pointer.generation}){before}")
    return await follow_up(redis, model, changed)


async def try_out(folder: Path) -> None:
    """Let a worker's own code try the version, in a process with bounds; without that code only digests were checked.

    Raises:
        ModelRefusedError: it does not do what a version must.

    """
    if importlib.util.find_spec("onnxruntime") is None:
        note("not tried, because ONNX Runtime is not installed here: workers try it before they serve it")
        return
    note(f"trying {folder} as a worker would ...")
    here = await asyncio.to_thread(folder.absolute)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.verify", str(here), "--json"),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    failed = [check for line in said.splitlines() if not (check := orjson.loads(line))["passed"]]
    if process.returncode == 0 and not failed:
        return
    why = "; ".join(f"{check['name']}: {check['found']} (wanted: {check['wanted']})" for check in failed[:3])
    last = (errors.decode(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
    raise ModelRefusedError(f"{folder} is refused: {printable(why or last)}; all of it: just verify-model {folder}")


async def _pointer(store: Store, model: str) -> Pointer | None:
    return await asyncio.to_thread(store.pointer, model) if model in await asyncio.to_thread(store.models) else None


async def _place(store: Store, settings: CliSettings, model: str, version: str) -> Path:
    """Return where the version lies here: written by the trainer, or fetched from the store."""
    here = settings.models / model / version
    return here if here.is_dir() else await asyncio.to_thread(store.fetch, model, version, settings.models)


async def _say_other_labels(store: Store, manifest: ModelManifest, seen: Pointer) -> None:
    try:
        live = await asyncio.to_thread(store.manifest, manifest.name, seen.version)
    except ModelRefusedError:  # what was live is gone or damaged: a reason more to promote another
        return
    if live.labels != manifest.labels:
        note(f"warning: its labels are {', '.join(manifest.labels)}; those of {seen.version}: {', '.join(live.labels)}")

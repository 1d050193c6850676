"""``retrain-on-alert``: train again when an alarm says that model or inputs have changed, at most once a day."""

import argparse
import asyncio
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.announcements import served_models
from broker.backoff import Backoff
from broker.connection import BLOCK_MS
from broker.durable import write
from broker.errors import MalformedEntryError, NewerSchemaError, SettingsError
from broker.events import Alert
from broker.manifest import models_in
from broker.streams import Tag, entry_time_ms
from cli.alerts import read_alarms
from cli.evidence import when
from cli.reading import Entry, Place, after, newest, opened
from cli.settings import CliSettings
from cli.terminal import note, printable

DAY_S: Final = 86_400
COUNT: Final = 100
NOT_OF_THE_DATA: Final = {"service", "shadow"}  # detectors of how it is served


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``retrain-on-alert``."""
    parser.add_argument("--once", action="store_true", help="look at what came since the last time, and end")
    parser.add_argument(
        "--program",
        default="just retrain",
        metavar="COMMAND",
        help="run with the model's name after it (default: %(default)s)",
    )


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Watch the alarms; 1 with ``--once`` where a training failed.

    Raises:
        SettingsError: no kind of alarm is set, or texts are not kept.

    """
    if not settings.retrain_on:
        raise SettingsError("no alarm starts a training; set OBSERVA_RETRAIN_ON=accuracy,drift, or one of the two")
    settings.need_texts("retraining")
    memory = Memory(settings.data_dir.resolve() / "retraining.json")
    async with opened(settings) as redis:
        watch = Watch(redis, settings, memory, args.program.split())
        await watch.begin()
        firing = await watch.say_firing()
        failed = await watch.look(None)
        if firing and not watch.trained:
            commands = ", ".join(f"just retrain {model}" for model in sorted(firing))
            print(f"what began before this looked last starts no training; to train now: {commands}", flush=True)
        backoff = Backoff(most_s=30)
        while not args.once:
            try:
                await watch.look(BLOCK_MS)
                backoff.reset()
            except RedisError as error:
                note(f"the log cannot be read ({type(error).__name__}); trying again")
                await backoff.wait()
    return int(failed)


class Memory:
    """What outlives a restart: how far each stream of alarms was read, and when each model was trained last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found: Any = orjson.loads(path.read_bytes())
            self.place = Place(dict(found["positions"]), dict(found.get("histories", {})))
            self.trained_s: dict[str, float] = dict(found["trained"])
        except (OSError, ValueError, KeyError, TypeError):
            self.place, self.trained_s = Place(), {}

    def save(self) -> None:
        """Write it, whole or not at all.

        Raises:
            SettingsError: it cannot be written; without it one alarm might start a training each time.

        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = {"positions": self.place.positions, "histories": self.place.histories, "trained": self.trained_s}
            write(self._path, orjson.dumps(found), 0o600)
        except OSError as error:
            raise SettingsError(f"{self._path}: {error.strerror}; set OBSERVA_DATA_DIR to a folder of yours") from error


class Watch:
    """The alarms of every model, and the trainings that they start."""

    def __init__(self, redis: Redis, settings: CliSettings, memory: Memory, command: Sequence[str]) -> None:
        self._redis = redis
        self._settings = settings
        self._memory = memory
        self._command = command
        self.trained = False  # whether a training was started

    async def begin(self) -> None:
        """Begin each stream that is met for the first time at its end: what happened before is known to somebody."""
        for tag in await self._tags():
            if tag.alerts not in self._memory.place.positions:
                last = await newest(self._redis, tag.alerts, count=1)
                self._memory.place.positions[tag.alerts] = last[0][0] if last else "0-0"
        self._memory.save()

    async def say_firing(self) -> set[str]:
        """Say which alarms of the kinds that start a training are on, and return of which models."""
        alarms, _ = await read_alarms(self._redis, await self._tags())
        firing = [one for one in alarms.values() if not one.ended and kind_of(one.began) in self._settings.retrain_on]
        for one in firing:
            print(f"{one.model}: {printable(one.began.summary)} On since {when(one.began.at_ms)}.", flush=True)
        if not firing:
            print(f"no alarm of {' or '.join(self._settings.retrain_on)} is on", flush=True)
        return {one.model for one in firing}

    async def look(self, block_ms: int | None) -> bool:
        """Read what came, and train where it says so; return whether a training failed."""
        streams = {tag.alerts: tag.model for tag in await self._tags()}
        known = self._memory.place
        place = Place({stream: known.positions.get(stream, "0-0") for stream in streams}, known.histories)
        pages = await after(self._redis, place, COUNT, block_ms)
        known.positions |= place.positions
        failed = False
        for stream, entries in pages.items():
            reason = self._reason(entries)
            # Remembered before the training: a training that ends this process is not begun again and again.
            known.positions[stream] = entries[-1][0]
            if reason and self._is_due(streams[stream]):
                self._memory.trained_s[streams[stream]] = time.time()
                self._memory.save()
                failed |= not await self._train(streams[stream], reason)
            self._memory.save()
        return failed

    def _reason(self, entries: Sequence[Entry]) -> Alert | None:
        for entry_id, fields in entries:
            try:
                alert = Alert.from_fields(fields)
            except (MalformedEntryError, NewerSchemaError):
                continue
            is_old = time.time() - entry_time_ms(entry_id) / 1000 > DAY_S
            if alert.state == "firing" and not is_old and kind_of(alert) in self._settings.retrain_on:
                return alert
        return None

    def _is_due(self, model: str) -> bool:
        if (since_s := time.time() - self._memory.trained_s.get(model, 0)) < DAY_S:
            note(f"{model}: an alarm, and the last training began {since_s / 3600:.1f} h ago; at most one a day")
            return False
        return True

    async def _train(self, model: str, alert: Alert) -> bool:
        self.trained = True
        print(f"{model}: {printable(alert.summary)} Training again ...", flush=True)
        process = await asyncio.create_subprocess_exec(*self._command, model)
        status = await process.wait()
        said = "ready, as a shadow" if status == 0 else f"failed (status {status}); the live version stays"
        print(f"{model}: the training is {said}" if status == 0 else f"{model}: the training {said}", flush=True)
        return status == 0

    async def _tags(self) -> list[Tag]:
        models = {*models_in(self._settings.models), *await served_models(self._redis)}
        return [Tag(model, shard) for model in sorted(models) for shard in range(self._settings.shards)]


def kind_of(alert: Alert) -> str | None:
    """Return ``accuracy``, ``drift``, or None for an alarm that no training can end."""
    if alert.detector in NOT_OF_THE_DATA:
        return None
    is_accuracy = alert.feature in {"accuracy", "estimated_accuracy"} or alert.feature.startswith("accuracy/")
    return "accuracy" if is_accuracy else "drift"

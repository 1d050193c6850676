"""Models, folders, requests and running workers for the worker's tests."""

import itertools
import threading
import time
from contextlib import asynccontextmanager

from broker.connection import connect
from broker.events import Request
from broker.manifest import ModelManifest, Pointer, digest_of
from broker.streams import PredictionId, Tag
from worker.handler import Arrival
from worker.models import LOADERS, Loaded, Scores, Served
from worker.settings import WorkerSettings
from worker.speed import Speed
from worker.worker import Worker

TAG = Tag("toy")
ENTRY_MS = 1_800_000_000_000


class Toy:
    """Says positive to texts with "good". Obeys RAISE, NAN and WAIT, and remembers what it was asked."""

    def __init__(self, manifest, _files=None):
        self.manifest = manifest
        self.asked = []
        self.gate = threading.Event()  # WAIT waits for it
        self.waits = threading.Event()  # WAIT is here

    def predict(self, texts):
        self.asked.append(list(texts))
        if any("WAIT" in text for text in texts):
            self.waits.set()
            assert self.gate.wait(20)
        if any("RAISE" in text for text in texts):
            raise RuntimeError("a message that quotes the text")
        return [self._score(text) for text in texts]

    def _score(self, text):
        positive = float("nan") if "NAN" in text else 0.9 if "good" in text else 0.2
        tokens = len(text.split())
        return Scores((1 - positive, positive), tokens, truncated=tokens > self.manifest.max_length)


LOADERS["toy"] = Toy


def manifest(**changes):
    fields = {
        "name": "toy",
        "version": "1",
        "kind": "toy",
        "labels": ("negative", "positive"),
        "max_length": 8,
        "metrics": {"accuracy": 0.9},
        "data_digest": "0" * 64,
        "code_revision": "test",
        "created": "2026-01-01T00:00:00Z",
        "files": {},
    }
    return ModelManifest(**(fields | changes))


def write_model(store, files=None, *, live=True, **changes):
    """Put a version into the model store *store*, make it live unless told otherwise, and return its folder."""
    files = files or {}
    made = manifest(files={name: digest_of(content) for name, content in files.items()}, **changes)
    folder = store / made.name / made.version
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "model.json").write_text(made.model_dump_json())
    if live:
        (store / made.name / "live.json").write_text(Pointer(version=made.version, generation=1).model_dump_json())
    return folder


def served(*versions, live="1", vocabulary=(), name="toy", **changes):
    """A toy model with *versions* in memory, "1" if none are named."""
    loaded = {
        version: Loaded(Toy(manifest(name=name, version=version, **changes)), frozenset(vocabulary), "d")
        for version in versions or ("1",)
    }
    return Served(name, live, loaded, next((version for version in loaded if version != live), None))


@asynccontextmanager
async def working(server, *models, discovers=False, **settings):
    """A worker in this process, until the end of the block; the toy model unless *models* are given."""
    chosen = WorkerSettings(**({"redis_url": server.url, "redis_password_file": None, "claim_ms": 60_000} | settings))
    client = connect(chosen, "worker-test")
    worker = Worker(
        client, chosen, [(each, Speed(100, chosen.worker_batch)) for each in models or (served(),)], discovers=discovers
    )
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
        await client.aclose()
        await client.connection_pool.disconnect()
        assert worker.duties.failure is None


_sequence = itertools.count()


def arrival(text="a good film", at_ms=ENTRY_MS, **fields):
    entry_id = f"{at_ms}-{next(_sequence)}"
    return Arrival(entry_id, Request(**({"id": str(PredictionId.of_entry(TAG, entry_id)), "text": text} | fields)))


def fields(text="a good film", **more):
    """A new request's fields with an id, as a gateway writes them."""
    return Request(id=str(PredictionId.new(more.pop("tag", TAG))), text=text, **more).to_fields()


def old_entry(age_ms):
    """An entry id of *age_ms* ago by this machine's clock, which is also the test server's."""
    return f"{int(time.time() * 1000) - age_ms}-0"


async def results(redis, tag=TAG):
    """What was published, oldest first: fields as text."""
    return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in await redis.xrange(tag.results)]


async def dead_letters(redis, tag=TAG):
    """What was put aside, oldest first: fields as text."""
    found = await redis.xrange(tag.dead)
    return [{k.decode(): v.decode(errors="replace") for k, v in fields.items()} for _, fields in found]


async def pending(redis, tag=TAG):
    """Entry id to deliveries of what is not acknowledged."""
    found = await redis.xpending_range(tag.requests, "workers", "-", "+", 1000)
    return {row["message_id"].decode(): row["times_delivered"] for row in found}

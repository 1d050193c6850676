"""Reads what is to be explained, one text at a time, and publishes what comes of it."""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.announcements import served_models
from broker.backoff import Backoff
from broker.connection import BLOCK_MS
from broker.duties import Duties, Pulse
from broker.errors import MalformedEntryError, ModelRefusedError, NewerSchemaError, StoreError, WrongKeyTypeError
from broker.events import Explained, ExplainRequest
from broker.explanations import MARK_S, Explanations
from broker.streams import EXPLAINERS, PredictionId, Tag, entry_time_ms
from worker.explaining.metrics import DURATION, EXPLANATIONS
from worker.explaining.settings import ExplainerSettings
from worker.explaining.versions import Versions

STALE_MS: Final = 120_000  # nobody waits for an explanation any more
MOST_DELIVERIES: Final = 2
TELL_S: Final = 0.3  # between two notes of progress, which also say that the text is still being worked on
PASSING: Final = (RedisError, OSError, WrongKeyTypeError)

log = logging.getLogger(__name__)


class Explainer:
    """One process; texts of all models share its one thread."""

    def __init__(self, redis: Redis, settings: ExplainerSettings) -> None:
        self.name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self.duties = Duties()
        self.last_read_at: float | None = None  # time.monotonic() of the last answer from Redis
        self._redis = redis
        self._settings = settings
        self._explanations = Explanations(redis, settings)
        self._versions = Versions(settings)
        self._thread = ThreadPoolExecutor(1, "explaining")
        self._turn = asyncio.Lock()
        self._pulses: dict[Tag, Pulse] = {}  # of the readers

    async def run(self, stop: asyncio.Event) -> None:
        """Explain for every model there is, also those that come later, until told to stop."""
        readers: list[asyncio.Task[None]] = []
        try:
            while not stop.is_set():
                with suppress(StoreError, *PASSING):
                    for tag in await self._tags():
                        if tag not in self._pulses:
                            pulse = self._pulses[tag] = Pulse()
                            readers.append(self.duties.begin(self._read_forever(tag), pulse))
                        await self._explanations.announce(tag, self.name)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), MARK_S / 3)
        finally:
            await self.duties.end(readers)
            self._thread.shutdown(cancel_futures=True)

    async def _tags(self) -> list[Tag]:
        names = {*await asyncio.to_thread(self._versions.models), *await served_models(self._redis)}
        return [Tag(name, shard) for name in sorted(names) for shard in range(self._settings.shards)]

    async def _read_forever(self, tag: Tag) -> None:
        backoff, ready, looked_s = Backoff(), False, 0.0
        while True:
            self._pulses[tag].beat()
            try:
                if not ready:
                    await self._explanations.ensure_group(tag)
                if time.monotonic() - looked_s > self._settings.explainer_claim_ms / 2000:
                    await self._take_over(tag)
                    looked_s = time.monotonic()
                answer: Any = await self._redis.xreadgroup(
                    EXPLAINERS, self.name, {tag.explain: ">"}, count=1, block=BLOCK_MS
                )
                self.last_read_at = time.monotonic()
                for _, entries in answer or ():
                    for entry_id, fields in entries:
                        await self._work(tag, entry_id.decode(), fields)
            except PASSING as error:
                ready = False
                log.warning("explaining is held up: %s", type(error).__name__, extra={"model": tag.model})
                await backoff.wait()
                continue
            ready = True
            backoff.reset()

    async def _take_over(self, tag: Tag) -> None:
        """Finish what an explainer left behind that died; what has killed one is given up."""
        _, entries, *_ = await self._redis.xautoclaim(
            tag.explain, EXPLAINERS, self.name, min_idle_time=self._settings.explainer_claim_ms, count=1
        )
        for entry_id, fields in entries:
            found: Any = await self._redis.xpending_range(tag.explain, EXPLAINERS, entry_id, entry_id, 1)
            if found and found[0]["times_delivered"] > MOST_DELIVERIES:
                await self._fail(tag, entry_id.decode(), fields, "explanation_failed")
            else:
                await self._work(tag, entry_id.decode(), fields)

    async def _work(self, tag: Tag, entry_id: str, fields: Any) -> None:
        seconds, _ = await self._redis.time()
        if int(seconds) * 1000 - entry_time_ms(entry_id) > STALE_MS:
            await self._fail(tag, entry_id, fields, "deadline_exceeded")
            return
        try:
            request = ExplainRequest.from_fields(fields)
            document, event = await self._explain(tag, entry_id, request)
        except (ModelRefusedError, StoreError) as error:
            log.warning("a version cannot be explained: %s", error)
            await self._fail(tag, entry_id, fields, "version_unavailable")
        except (MalformedEntryError, NewerSchemaError):
            await self._fail(tag, entry_id, fields, "malformed")
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - of shap or the model; the message may hold the text
            log.error("an explanation failed: %s", type(error).__name__, extra={"model": tag.model})  # noqa: TRY400
            await self._fail(tag, entry_id, fields, "explanation_failed")
        else:
            EXPLANATIONS.labels(tag.model, "done").inc()
            await self._finish(tag, entry_id, event, document)

    async def _explain(self, tag: Tag, entry_id: str, request: ExplainRequest) -> tuple[dict[str, Any], Explained]:
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        progress = _Progress()
        telling = asyncio.create_task(self._tell(tag, entry_id, request.id, progress))
        try:
            async with self._turn:
                work = partial(self._explain_in_thread, tag.model, request, progress.set)
                found = await loop.run_in_executor(self._thread, work)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        elapsed_ms = round((time.perf_counter() - began) * 1000, 1)
        DURATION.labels(tag.model).observe(elapsed_ms / 1000)
        document = {
            "status": "done",
            "model": tag.model,
            "version": request.version,
            **found.document(),
            "elapsed_ms": elapsed_ms,
        }
        event = Explained(
            id=request.id,
            version=request.version,
            status="done",
            label=found.label,
            method=found.attribution.method,
            words=len(found.attribution.parts),
            evaluations=found.attribution.evaluations,
            elapsed_ms=elapsed_ms,
        )
        return document, event

    def _explain_in_thread(self, model: str, request: ExplainRequest, tick: Callable[[float], None]) -> Any:
        version = self._versions.get(model, request.version)
        return version.explain(request.text, self._settings.explainer_evaluations, tick)

    async def _tell(self, tag: Tag, entry_id: str, explanation: str, progress: "_Progress") -> None:
        """Say how far it is, and that it is still ours: what is idle for long is taken over by others."""
        while True:
            await asyncio.sleep(TELL_S)
            self._pulses[tag].beat()
            with suppress(*PASSING):
                await self._redis.xclaim(tag.explain, EXPLAINERS, self.name, 0, [entry_id], justid=True)
                await self._explanations.tell_progress(tag, explanation, progress.share)

    async def _fail(self, tag: Tag, entry_id: str, fields: Any, code: str) -> None:
        """Say that there is no explanation, as far as it is known of what."""
        EXPLANATIONS.labels(tag.model, "failed").inc()
        named = fields.get(b"id", b"").decode(errors="replace") if fields else ""
        try:
            PredictionId.parse(named)
        except ValueError:
            named = str(PredictionId.of_entry(tag, entry_id))  # nobody asks for it: it is only taken off the stream
        event = Explained(id=named, version=_version(fields), status="failed", code=code)
        await self._finish(tag, entry_id, event, {"status": "failed", "code": code})

    async def _finish(self, tag: Tag, entry_id: str, event: Explained, document: dict[str, Any]) -> None:
        """Publish what was worked out, as long as it takes Redis to come back."""
        backoff = Backoff()
        while True:
            try:
                await self._explanations.finish(tag, entry_id, event, document)
            except PASSING:
                self._pulses[tag].beat()
                await backoff.wait()
            else:
                return


class _Progress:
    """How far the thread is, for the loop to read."""

    def __init__(self) -> None:
        self.share = 0.0

    def set(self, share: float) -> None:
        """Note how far it is, from 0 to 1."""
        self.share = share


def _version(fields: Any) -> str:
    return str(fields.get(b"version", b"").decode(errors="replace")[:64]) if fields else ""

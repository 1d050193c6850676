"""Follows results and feedback of one model's one shard, and keeps the snapshot."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.backoff import Backoff
from broker.connection import Clock
from broker.duties import Pulse
from broker.errors import ObservaError
from broker.groups import ensure_groups
from broker.history import ASK, telling_history
from broker.streams import Tag
from monitor.aside import fold_carefully, place_of
from monitor.columns import Entry, versions_in
from monitor.profiles import Profiles
from monitor.settings import MonitorSettings
from monitor.snapshot import FencedError, OtherLogError, Snapshots
from monitor.state import State, versions_of

if TYPE_CHECKING:
    from broker.events import Alert

BLOCK_MS: Final = 500
IDLE_SNAPSHOT_S: Final = 30.0  # without entries: the position stays visible, a second monitor is noticed
GATHER_S: Final = 0.25  # what comes meanwhile is read at once: small reads cost ten times as much a result
FALLS_S: Final = (0.5, 30.0)  # between two beginnings after something else than Redis went wrong
WATCH_S: Final = 5.0  # between two beats while versions are read
FRESH_S: Final = 10.0  # without a successful read for so long the reader is not healthy

log = logging.getLogger(__name__)


class Reader:
    """One shard's state, and how current it is."""

    def __init__(self, redis: Redis, settings: MonitorSettings, tag: Tag, profiles: Profiles, owner: str) -> None:
        self.tag = tag
        self.pulse = Pulse()
        self.state = State(settings.rules, profiles)
        self.failures: dict[str, int] = {}
        self.folded = 0  # entries since the process started
        self._redis = redis
        # Replies as they come: redis-py makes a dict of each entry, which takes longer than all that is done with it.
        self._raw = telling_history(redis)
        self._raw.set_response_callback("XREAD", _as_it_comes)
        self._settings = settings
        self._profiles = profiles
        kept = settings.monitor_checkpoints, settings.monitor_checkpoint_h
        self._snapshots = Snapshots(redis, tag, owner, *kept)
        self._born: str | None = None  # the mark of the log that the state is of
        self._history: str | None = None  # the history that it was read under; None: to be found out
        self._alerts: list[Alert] = []  # not yet written
        self._unsaved = 0  # entries folded since the last snapshot
        self._read_s = -math.inf
        self._made_s = self._saved_s = self._written_s = time.monotonic()
        self._careful: dict[str, tuple[int, int]] = {}  # stream to the entry up to which one may fail
        self.trouble: str | None = None  # why nothing is judged now, for a person
        self._at_end_ms: float | None = None  # Redis time when both streams were last read to their end

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the streams until *stop*, then write a last snapshot.

        Whatever else goes wrong is said, and after a while the reader begins again where its snapshot is.

        Raises:
            FencedError: another monitor took over.

        """
        backoff, clock, falls = Backoff(), Clock(), Backoff(*FALLS_S)
        while not stop.is_set():
            self.pulse.beat()
            try:
                await self._follow(clock, backoff)
                if self.trouble is None:
                    falls.reset()
            except FencedError:
                raise
            except Exception as error:  # noqa: BLE001 what is wrong with one model may not end the watching of others
                self._fall(error)
                await falls.wait()
        with contextlib.suppress(OtherLogError, RedisError):
            if self._history is not None:
                await self._save()

    async def _follow(self, clock: Clock, backoff: Backoff) -> None:
        """Take what is there; while Redis cannot be reached, wait."""
        try:
            if self._history is None:
                await self._begin(clock)
            await self._step(clock)
            backoff.reset()
        except OtherLogError:
            log.warning("%s has become another server's, or another log: beginning at its snapshot", self.tag)
            self._history = None
            await backoff.wait()
        except RedisError as error:
            self._fail("read", error)
            await backoff.wait()

    @property
    def fresh(self) -> bool:
        """Whether a read succeeded lately, and what was read could be counted."""
        return self.trouble is None and time.monotonic() - self._read_s < FRESH_S

    @property
    def catching_up(self) -> bool:
        """Whether the log was not read to its end since the start, so that figures and alarms may be of the past."""
        return self.trouble is None and self._at_end_ms is None

    @property
    def snapshot_age_s(self) -> float:
        """Seconds since the snapshot was written, or found to be current."""
        return time.monotonic() - self._saved_s

    def lag_s(self, now_ms: float) -> float:
        """Return how long ago, at Redis time *now_ms*, all of the log was known here: at least since it began."""
        if self._at_end_ms is None:
            return time.monotonic() - self._made_s
        return max(0.0, (now_ms - self._at_end_ms) / 1000)

    async def _begin(self, clock: Clock) -> None:
        """Become the only monitor of this tag, or stay it, and go on from the snapshot that lies beside the log.

        Writes are replicated in their order, so on every server a snapshot counts what the log holds up to there. What
        was read of another server, or before this one lost its end, is dropped, and read again where it is.
        """
        await self._learn(self._profiles.prepare())
        await clock.sync(self._redis)
        born = await ensure_groups(self._redis, self.tag)
        claimed = await self._snapshots.claim()
        if claimed.state is not None:
            await self._take(claimed.state)
            if claimed.born != born:
                self._begin_other_log()
        elif self._born in {None, born}:
            await self._take(None)
            for fold, start in zip(self.state.folds, claimed.starts, strict=True):
                fold.entries_read = start  # what was gone before there was a monitor is no gap
        else:  # the log was emptied, and the snapshot with it: what was seen happened, in whichever log
            self._begin_other_log()
        self._born, self._history = born, claimed.history
        await self._save()
        log.info("following %s from %s", self.tag, self.state.results.position)

    async def _learn(self, reading: Coroutine[Any, Any, None]) -> None:
        """Wait until versions are read and solved: minutes, where the readers of many models begin together."""
        task = asyncio.create_task(reading)
        try:
            while not (await asyncio.wait({task}, timeout=WATCH_S))[0]:
                self.pulse.beat()
        finally:
            task.cancel()
        await task

    async def _take(self, snapshot: bytes | None) -> None:
        state = State(self._settings.rules, self._profiles)
        if snapshot is not None:
            await self._learn(self._profiles.load(versions_of(snapshot)))
            state.decode(snapshot)
        self.state, self._alerts, self._unsaved = state, [], 0

    def _begin_other_log(self) -> None:
        log.warning("%s is another log than before: reading from its start", self.tag)
        self.state.begin_other_log()
        self._careful.clear()

    async def _step(self, clock: Clock) -> None:
        folded = self.folded
        full = await self._read()
        if not full:
            self._at_end_ms = clock.now_ms()
        age = time.monotonic() - self._written_s
        due = self._settings.monitor_snapshot_s if self._unsaved else IDLE_SNAPSHOT_S
        if self._unsaved >= self._settings.monitor_snapshot_entries or age >= due:
            await clock.sync(self._redis)
            await self._save()
        elif not self._unsaved:
            self._saved_s = time.monotonic()
        if not self._careful:
            self.trouble = None
        if self.folded > folded and not full:
            await asyncio.sleep(GATHER_S)

    async def _read(self) -> bool:
        """Read and fold what is there; return whether there may be more.

        The log's mark and the server's history are read after the entries, in the same round trip: as long as they are
        the known ones, the entries are of the known log, and what another log holds is never folded on top.
        """
        results, feedback = self.state.results, self.state.feedback
        pipeline = self._raw.pipeline(transaction=False)
        streams: Any = {self.tag.results: results.position, self.tag.feedback: feedback.position}
        pipeline.xread(streams, count=self._settings.monitor_read_count, block=BLOCK_MS)
        pipeline.get(self.tag.born)
        pipeline.execute_command(*ASK)
        found, born, history = await pipeline.execute()
        if born is None or born.decode() != self._born or history != self._history:
            raise OtherLogError
        self._read_s = time.monotonic()
        full = False
        for name, entries in found or ():
            stream = "results" if name.decode() == self.tag.results else "feedback"
            await self._learn(self._profiles.load(versions_in(entries)))
            alerts = await self._fold(stream, entries)  # of [id, [name, value, ...]]
            self.state.alerts += len(alerts)
            self._alerts += alerts
            self._unsaved += len(entries)
            self.folded += len(entries)
            full = full or len(entries) == self._settings.monitor_read_count
        came = {name.decode() for name, _ in found or ()}
        for stream in [stream for stream in self._careful if self.tag.key(stream) not in came]:
            del self._careful[stream]  # read to its end: what may fail was deleted, or is another server's
        return full

    async def _fold(self, stream: str, entries: Sequence[Entry]) -> list["Alert"]:
        """Fold entries; where that raises, they come again after the snapshot, and then a copy is at hand."""
        last = order_of(entries[-1][0])
        if stream in self._careful:
            alerts = await fold_carefully(self.state, stream, entries)
            if last >= self._careful[stream]:
                del self._careful[stream]
            return alerts
        try:
            return self.state.fold_of(stream).fold(entries)
        except Exception:
            self._careful[stream] = last
            raise

    async def _save(self) -> None:
        alerts, unsaved = list(self._alerts), self._unsaved
        try:
            await self._snapshots.write(self.state, self._born or "", alerts)
        except RedisError as error:
            self._fail("snapshot", error)
            raise
        self._alerts = self._alerts[len(alerts) :]
        self._unsaved -= unsaved
        self._saved_s = self._written_s = time.monotonic()
        for alert in alerts:
            log.warning("%s %s of %s: %s", alert.detector, alert.state, alert.version, alert.summary)

    def _fall(self, error: Exception) -> None:
        """Say what went wrong, and begin again from the snapshot: the state may have taken half of something."""
        self._born = self._history = None
        self.trouble = str(error) if isinstance(error, ObservaError) else place_of(error)
        self.failures["reader"] = self.failures.get("reader", 0) + 1
        log.error("%s is not judged now; its reader begins again: %s", self.tag, self.trouble)

    def _fail(self, what: str, error: RedisError) -> None:
        self.failures[what] = self.failures.get(what, 0) + 1
        log.warning("%s of %s failed: %s", what, self.tag, type(error).__name__)


def order_of(entry_id: bytes) -> tuple[int, int]:
    """Return what sorts entry ids as their stream does."""
    time_ms, _, sequence = entry_id.partition(b"-")
    return int(time_ms), int(sequence)


def _as_it_comes(response: Any, **_: Any) -> Any:
    return response

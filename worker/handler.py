"""Requests and models in, settlements out: what the worker decides, with no Redis and no clock of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from broker.answers import ErrorCode, Prediction, Timing, encode_error
from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Request, Result, Role
from broker.manifest import ModelManifest
from broker.settlement import DeadNote, Settlement
from broker.streams import Tag, entry_time_ms
from broker.text import describe, normalise
from worker.models import Loaded, Scores, Served

DECIMALS: Final = 6  # of a probability; a reader can repeat every decision that was made on it


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that can be read, and how often its entry has been delivered, this time included."""

    entry_id: str
    request: Request
    deliveries: int = 1


@dataclass(frozen=True, slots=True)
class Sorted:
    """Entries by what can be done with them."""

    arrivals: tuple[Arrival, ...]
    malformed: tuple[Settlement, ...]
    newer: tuple[str, ...]  # entry ids, to be left for a newer worker


def sort_out(
    tag: Tag, entries: Iterable[tuple[str, Mapping[bytes, bytes]]], worker: str, deliveries: int = 1
) -> Sorted:
    """Read *entries* of the requests of *tag* one by one: one that cannot be read spoils no other."""
    arrivals, malformed, newer = [], [], []
    for entry_id, fields in entries:
        try:
            arrivals.append(Arrival(entry_id, Request.from_entry(tag, entry_id, fields), deliveries))
        except NewerSchemaError:
            newer.append(entry_id)
        except MalformedEntryError as error:
            note = DeadNote("malformed", str(error), deliveries, worker)
            malformed.append(Settlement(entry_id, dead=note))
    return Sorted(tuple(arrivals), tuple(malformed), tuple(newer))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one version did with the texts it was given together."""

    version: str
    entry_ids: tuple[str, ...]
    began_s: float  # on the handler's clock
    seconds: float
    waits_s: tuple[float, ...]  # of each text, from its entry's time to the start


@dataclass(frozen=True, slots=True)
class Handled:
    """The end of each arrival, and the batches that led there."""

    settlements: list[Settlement]
    batches: list[Batch]


class Handler:
    """Decides what becomes of requests for one model.

    *now_ms* is Redis' time, the clock of entry ids; *seconds* any clock that only goes forward.
    """

    def __init__(self, served: Served, worker: str, now_ms: Callable[[], float], seconds: Callable[[], float]) -> None:
        self.served = served
        self._worker = worker
        self._now_ms = now_ms
        self._seconds = seconds

    def handle(self, arrivals: Sequence[Arrival]) -> Handled:
        """Answer *arrivals*: what is too late or has no version without inference, the rest one batch a version."""
        handled = Handled([], [])
        wanted: dict[str, list[Arrival]] = {}
        now_ms = self._now_ms()
        served = self.served  # may be replaced meanwhile; a batch belongs to one state
        for arrival in arrivals:
            version = _version_for(served, arrival.request)
            if now_ms >= entry_time_ms(arrival.entry_id) + arrival.request.deadline_ms:
                handled.settlements.append(self.failed(arrival, "deadline_exceeded", of=served))
            elif version is None:
                handled.settlements.append(self.failed(arrival, "version_unavailable", of=served))
            else:
                wanted.setdefault(version, []).append(arrival)
        for version, chosen in wanted.items():
            self._infer(served, served.versions[version], chosen, handled)
        return handled

    def failed(
        self, arrival: Arrival, code: ErrorCode, note: DeadNote | None = None, *, of: Served | None = None
    ) -> Settlement:
        """Return the end of an arrival that gets no prediction *of* what was served, or is now."""
        request, served = arrival.request, of or self.served
        version = _version_for(served, request)
        result = Result(
            id=request.id,
            version=version or request.version or served.live,
            role=_role(served, version),
            status="error",
            code=code,
            queue_ms=_rounded_ms(self._now_ms() - entry_time_ms(arrival.entry_id)),
            worker=self._worker,
            deliveries=arrival.deliveries,
            tags=request.tags,
            key=request.key,
        )
        return Settlement(arrival.entry_id, request, result, encode_error(request.id, code), note)

    def given_up(
        self,
        arrival: Arrival,
        reason: Literal["crashed", "inference_failed"],
        detail: str,
        *,
        of: Served | None = None,
    ) -> Settlement:
        """Return the end of an arrival that no attempt brought to an answer: an error and a dead letter."""
        note = DeadNote(reason, detail, arrival.deliveries, self._worker)
        return self.failed(arrival, "inference_failed", note, of=of)

    def _infer(self, served: Served, loaded: Loaded, arrivals: Sequence[Arrival], handled: Handled) -> None:
        start_ms, start = self._now_ms(), self._seconds()
        outcomes = _predict_apart(loaded, [arrival.request.text for arrival in arrivals])
        seconds = self._seconds() - start
        waits_ms = [max(0.0, start_ms - entry_time_ms(arrival.entry_id)) for arrival in arrivals]
        entry_ids = tuple(arrival.entry_id for arrival in arrivals)
        waits_s = tuple(wait / 1000 for wait in waits_ms)
        handled.batches.append(Batch(loaded.manifest.version, entry_ids, start, seconds, waits_s))
        role = _role(served, loaded.manifest.version)
        for arrival, outcome, wait_ms in zip(arrivals, outcomes, waits_ms, strict=True):
            if isinstance(outcome, Exception):
                detail = f"{loaded.manifest.version} raised {type(outcome).__name__}"  # its message may quote the text
                handled.settlements.append(self.given_up(arrival, "inference_failed", detail, of=served))
            elif outcome.truncated and not arrival.request.truncate:
                handled.settlements.append(self.failed(arrival, "too_many_tokens", of=served))
            else:
                inference_ms = seconds * 1000
                timing = Timing(
                    queue=_rounded_ms(wait_ms),
                    inference=_rounded_ms(inference_ms),
                    total=_rounded_ms(wait_ms + inference_ms),
                )
                handled.settlements.append(self._answered(arrival, loaded, outcome, timing, len(arrivals), role))

    def _answered(  # noqa: PLR0913, PLR0917 what is known of one answer
        self, arrival: Arrival, loaded: Loaded, scores: Scores, timing: Timing, batch_size: int, role: Role
    ) -> Settlement:
        prediction = self._prediction(arrival.request, loaded.manifest, scores, timing)
        statistics = describe(arrival.request.text, loaded.vocabulary)
        result = Result(
            id=prediction.id,
            version=prediction.version,
            role=role,
            status="ok",
            label=prediction.label,
            label_id=prediction.label_id,
            confidence=prediction.confidence,
            probabilities=prediction.probabilities,
            abstained=prediction.abstained,
            truncated=prediction.truncated,
            characters=statistics.characters,
            words=statistics.words,
            tokens=scores.tokens,
            oov_ratio=round(statistics.oov_ratio, DECIMALS),
            non_latin_ratio=round(statistics.non_latin_ratio, DECIMALS),
            embedding=scores.embedding,
            queue_ms=timing["queue"],
            inference_ms=timing["inference"],
            batch_size=batch_size,
            worker=self._worker,
            deliveries=arrival.deliveries,
            tags=arrival.request.tags,
            key=arrival.request.key,
        )
        request = arrival.request
        if request.true_label is not None and request.true_label not in loaded.manifest.labels:
            # Only an entry written by hand has one; as feedback it would count against a label that does not exist.
            request = request.model_copy(update={"true_label": None})
        return Settlement(arrival.entry_id, request, result, prediction.encode())

    def _prediction(self, request: Request, manifest: ModelManifest, scores: Scores, timing: Timing) -> Prediction:
        probabilities = [round(probability, DECIMALS) for probability in scores.probabilities]
        label_id = max(range(len(probabilities)), key=scores.probabilities.__getitem__)
        threshold = manifest.threshold if request.threshold is None else request.threshold
        return Prediction(
            id=request.id,
            model=self.served.name,
            version=manifest.version,
            label=manifest.labels[label_id],
            label_id=label_id,
            confidence=probabilities[label_id],
            probabilities=dict(zip(manifest.labels, probabilities, strict=True)),
            abstained=probabilities[label_id] < threshold,
            truncated=scores.truncated,
            timing_ms=timing,
        )


def _version_for(served: Served, request: Request) -> str | None:
    """Return the version that answers *request*; None where its caller insists on one that is not here.

    A request that was stamped with the live version and finds another live is answered by that one.
    """
    if request.pinned and request.version is not None:
        return request.version if request.version in served.versions else None
    return served.canary if served.canary and request.version == served.canary else served.live


def _role(served: Served, version: str | None) -> Role:
    return "live" if version in {None, served.live} else "canary"


def _predict_apart(loaded: Loaded, texts: Sequence[str]) -> list[Scores | Exception]:
    """Score *texts* together; if that fails, each alone, so that the culprit alone fails."""
    normalised = [normalise(text, loaded.manifest.normalisation) for text in texts]
    try:
        return list(_checked(loaded, normalised))
    except Exception as error:  # noqa: BLE001 a model of any kind may raise anything
        if len(texts) == 1:
            return [error]
    return [_predict_apart(loaded, [text])[0] for text in texts]


def _checked(loaded: Loaded, texts: Sequence[str]) -> list[Scores]:
    """Score *texts*.

    Raises:
        ValueError: the model answered another number of texts or labels, or with something that is no probability.

    """
    found = loaded.model.predict(texts)
    labels = len(loaded.manifest.labels)
    if len(found) != len(texts) or any(len(scores.probabilities) != labels for scores in found):
        raise ValueError("the model answered for another number of texts or labels")
    if not all(0 <= probability <= 1.000001 for scores in found for probability in scores.probabilities):  # noqa: PLR2004 rounding; false for NaN
        raise ValueError("a probability is not between 0 and 1")
    return found


def _rounded_ms(value: float) -> float:
    return round(max(0.0, value), 3)

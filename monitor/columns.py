"""Stream entries as columns: only what is counted, read without building an object an entry."""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Final, NamedTuple, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from broker.events import SCHEMA_VERSION
from broker.manifest import NAME_PATTERN
from monitor.accuracy import MICRO
from monitor.profiles import NUMERIC

Fields = Mapping[bytes, bytes] | Sequence[bytes]  # as redis-py gives them, or as they come: name, value, name, value
Entry = tuple[bytes, Fields]
Numbers = NDArray[np.float64]
ValueT = TypeVar("ValueT")

EVALUATION: Final = "evaluation"  # the tag whose value names an evaluation run
MAX_LABEL: Final = 64
MAX_ID: Final = 128
EMBEDDED: Final = 16  # coordinates of an embedding at most
ROLES: Final = {b"live": "live", b"canary": "canary", b"shadow": "shadow"}
STATUSES: Final = {b"ok": "ok", b"error": "error"}
OF_TWO: Final = -1.0  # in place of the entropy of two labels, which follows from the confidence
ENTROPY: Final = NUMERIC.index("entropy")
UNREADABLE: Final = (ValueError, KeyError, AttributeError, TypeError)  # what reading a malformed entry may raise
MOST: Final = sys.float_info.max  # of a number without a bound of its own: infinity is none
_NUMERIC: Final = tuple(name.encode() for name in NUMERIC)
_CONFIDENCE: Final = NUMERIC.index("confidence")
_MOST: Final = np.array([1.0 if name in {"confidence", "oov_ratio", "non_latin_ratio"} else MOST for name in NUMERIC])
_VERSION = re.compile(NAME_PATTERN)


class Label(NamedTuple):
    """One true label beside its prediction."""

    entry_id: str
    entry_ms: int
    id: str
    made_ms: int  # Redis time of the prediction; of an entry of an older Observa its id's; never after the entry
    version: str
    label: str
    predicted: str
    micro: int  # confidence in millionths
    previous: str | None
    evaluation: str | None
    slices: tuple[str, ...] = ()


@dataclass(slots=True)
class Results:
    """Columns of equal length, in stream order."""

    entry_ids: list[str] = field(default_factory=list)
    times: NDArray[np.int64] = field(
        default_factory=lambda: np.empty(0, dtype=np.int64)
    )  # of the entries, milliseconds
    ids: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # empty for an error
    evaluations: list[str | None] = field(default_factory=list)
    slices: list[tuple[str, ...]] = field(default_factory=list)  # tag=value
    flags: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 2), dtype=np.bool_))  # abstained, truncated
    numbers: Numbers = field(default_factory=lambda: np.empty((0, len(NUMERIC))))  # as NUMERIC; NaN: not said
    embedding: Numbers = field(default_factory=lambda: np.empty((0, EMBEDDED)))  # NaN: not said
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # entry id and reason, in stream order

    def values(self) -> Numbers:
        """Return the numbers, shape (entries, len(NUMERIC)), with the entropy of two labels."""
        values = self.numbers.copy()
        two = values[:, ENTROPY] == OF_TWO
        share = np.clip(values[two, _CONFIDENCE], 1e-12, 1 - 1e-12)
        values[two, ENTROPY] = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        return values


def picked(column: list[ValueT], chosen: NDArray[np.int64]) -> list[ValueT]:
    """Return the *chosen* values of a column, which ascend, the whole column without a copy."""
    return column if len(chosen) == len(column) else [column[i] for i in chosen.tolist()]


def read_label(entry: Entry) -> Label | str:
    """Read one entry of a feedback stream; a string is the reason why it cannot be read."""
    entry_id, fields = entry[0].decode(), as_mapping(entry[1])
    try:
        known_schema(fields)
        confidence = float(fields[b"confidence"])
        if not 0 <= confidence <= 1:
            return "malformed"
        entry_ms = int(entry_id.partition("-")[0])
        identity = short(fields[b"id"], MAX_ID)
        previous = fields.get(b"previous_label")
        return Label(
            entry_id,
            entry_ms,
            identity,
            min(_made_ms(fields, identity), entry_ms),
            version_of(fields[b"version"]),
            short(fields[b"label"]),
            short(fields[b"predicted"]),
            round(confidence * MICRO),
            None if previous is None else short(previous),
            *tags_of(fields.get(b"tags", b"{}")),
        )
    except (ValueError, KeyError, AttributeError, TypeError):
        return reason(fields)


def _made_ms(fields: Mapping[bytes, bytes], identity: str) -> int:
    """Return when the prediction was made: when the log took its result, or if that is not said what its id says."""
    if b"made_ms" not in fields:
        return int(identity[-36:-28] + identity[-27:-23], 16)
    made_ms = int(fields[b"made_ms"])
    if made_ms < 0:
        raise ValueError
    return made_ms


def read_result(entry_id: str, fields: Mapping[bytes, bytes]) -> Results:
    """Read one entry of a results stream as columns of one row.

    Raises:
        UNREADABLE: it is not what a worker writes; `reason` says why.

    """
    known_schema(fields)
    status, role = STATUSES[fields[b"status"]], ROLES[fields.get(b"role", b"live")]
    evaluation, slices = tags_of(fields.get(b"tags", b"{}"))
    numbers = [float(fields.get(name, b"nan")) for name in _NUMERIC]
    check_ranges(np.array([numbers]))
    probabilities = fields.get(b"probabilities", b"{}")
    if status == "ok" and probabilities != b"{}" and fields[b"label"].decode() not in orjson.loads(probabilities):
        raise ValueError
    (numbers[ENTROPY],) = entropies_of([fields.get(b"probabilities", b"")])
    return Results(
        [entry_id],
        np.array([int(entry_id.partition("-")[0])]),
        [short(fields[b"id"], MAX_ID)],
        [version_of(fields[b"version"])],
        [role],
        [status],
        [short(fields[b"label"]) if status == "ok" else ""],
        [evaluation],
        [slices],
        np.array([[fields.get(b"abstained") == b"true", fields.get(b"truncated") == b"true"]]),
        np.array([numbers]),
        embeddings_of([fields[b"embedding"]] if b"embedding" in fields else [], 1),
    )


def check_ranges(numbers: Numbers) -> None:
    """Make sure that *numbers*, columns as `NUMERIC` without the entropy, may be true, or raise ValueError.

    What another program wrote on to the log would count in totals and move thresholds for days.
    """
    if (numbers < 0).any() or (numbers > _MOST).any():  # false for NaN
        raise ValueError


def as_mapping(fields: Fields) -> Mapping[bytes, bytes]:
    """Return the fields by name; of a name that occurs twice the last."""
    return fields if isinstance(fields, Mapping) else dict(zip(fields[::2], fields[1::2], strict=False))


def flattened(fields: Fields) -> list[bytes]:
    """Return the fields as they come: name, value, name, value."""
    return [part for field in fields.items() for part in field] if isinstance(fields, Mapping) else list(fields)


def numbers_in(texts: Sequence[bytes]) -> list[float]:
    """Read JSON numbers, one each; all at once, since that takes a tenth of the time.

    Raises:
        ValueError: one of them is not a JSON number, finite in double precision.

    """
    found: list[float] = orjson.loads(b"[%b]" % b",".join(texts))
    # As many numbers as texts, and nothing but numbers: then no text held a separator.
    if len(found) != len(texts) or not {float, int}.issuperset(map(type, found)):
        raise ValueError
    return found


def embeddings_of(texts: Sequence[bytes], rows: int) -> Numbers:
    """Read JSON lists of at most `EMBEDDED` numbers, one a row; without *texts* every row is NaN.

    Raises:
        ValueError: one of them is something else.

    """
    embedding = np.full((rows, EMBEDDED), np.nan)
    if not texts:
        return embedding
    joined = b",".join(texts)
    # Each text begins and ends with its only bracket: then each is one list, and no list a piece of two.
    whole = {text[:1] for text in texts} == {b"["} and {text[-1:] for text in texts} == {b"]"}
    if not whole or joined.count(b"[") != len(texts) or joined.count(b"]") != len(texts):
        raise ValueError
    found = orjson.loads(b"[%b]" % joined)
    widths = set(map(len, found))
    if max(widths) > EMBEDDED or not {float, int}.issuperset(map(type, chain.from_iterable(found))):
        raise ValueError
    if len(widths) == 1:
        embedding[:, : widths.pop()] = found
    for width in widths:
        which = [at for at, row in enumerate(found) if len(row) == width]
        embedding[which, :width] = [found[at] for at in which]
    return embedding


def known_schema(fields: Mapping[bytes, bytes]) -> None:
    """Make sure that no newer Observa wrote the entry, or raise ValueError."""
    if int(fields.get(b"schema_version", b"1")) > SCHEMA_VERSION:
        raise ValueError


@lru_cache(maxsize=4096)
def tags_of(tags: bytes) -> tuple[str | None, tuple[str, ...]]:
    """Return the evaluation run and the slices that *tags* name."""
    found = orjson.loads(tags)
    run = found.pop(EVALUATION, None)
    slices = (f"{name}={value}" for name, value in found.items())
    return None if run is None else _checked(str(run), MAX_LABEL), tuple(s for s in slices if len(s) <= MAX_ID)


def entropies_of(probabilities: Sequence[bytes]) -> list[float]:
    """Return the entropies in nats; `OF_TWO` for two labels, NaN for none."""
    labels = [text.count(b":") for text in probabilities]
    if max(labels) <= 2:  # noqa: PLR2004
        return [OF_TWO if count else math.nan for count in labels]
    return list(map(_entropy, probabilities, labels))


def _entropy(probabilities: bytes, labels: int) -> float:
    if labels <= 2:  # noqa: PLR2004
        return OF_TWO if labels else math.nan
    shares: list[float] = list(orjson.loads(probabilities).values())
    return -math.fsum(share * math.log(share) for share in shares if share > 0)


@lru_cache(maxsize=1024)
def version_of(value: bytes) -> str:
    """Return the name of a version, or raise ValueError."""
    version = value.decode()
    if not _VERSION.fullmatch(version):
        raise ValueError
    return version


def short(value: bytes, most: int = MAX_LABEL) -> str:
    """Return a name of at most *most* characters, or raise ValueError."""
    return _checked(value.decode(), most)


def _checked(text: str, most: int) -> str:
    if not 0 < len(text) <= most:
        raise ValueError
    return text


def versions_in(entries: Sequence[Entry]) -> set[str]:
    """Return the versions that *entries* name; one that is no name is left out."""
    named: set[bytes] = set()
    place = 1  # of the value within an entry: mostly that of the entry before
    for _, fields in entries:
        if isinstance(fields, Mapping):
            named.add(fields.get(b"version", b""))
            continue
        if not (place < len(fields) and place % 2 and fields[place - 1] == b"version"):
            names = list(fields[::2])
            if b"version" not in names:
                continue
            place = 2 * names.index(b"version") + 1
        named.add(fields[place] if place < len(fields) else b"")
    found = set()
    for name in named:
        with suppress(ValueError):
            found.add(version_of(name))
    return found


def reason(fields: Mapping[bytes, bytes]) -> str:
    """Say why an entry cannot be read."""
    version = fields.get(b"schema_version", b"1")
    return "newer" if version.isdigit() and int(version[:9]) > SCHEMA_VERSION else "malformed"

"""Stream entries as columns: only what is counted, read without building an object an entry."""

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from broker.events import SCHEMA_VERSION
from broker.forgetting import ERASED
from broker.manifest import NAME_PATTERN
from monitor.accuracy import MICRO
from monitor.profiles import NUMERIC

Entry = tuple[bytes, dict[bytes, bytes]]

EVALUATION: Final = "evaluation"  # the tag whose value names an evaluation run
MAX_LABEL: Final = 64
MAX_ID: Final = 128
ROLES: Final = {b"live": "live", b"canary": "canary", b"shadow": "shadow"}
STATUSES: Final = {b"ok": "ok", b"error": "error"}
OF_TWO: Final = -1.0  # in place of the entropy of two labels, which follows from the confidence
_NUMERIC: Final = tuple(name.encode() for name in NUMERIC)
_ENTROPY: Final = NUMERIC.index("entropy")
_CONFIDENCE: Final = NUMERIC.index("confidence")
_VERSION = re.compile(NAME_PATTERN)


class Label(NamedTuple):
    """One true label beside its prediction."""

    entry_id: str
    entry_ms: int
    id: str
    made_ms: int  # when the prediction was asked for; never after the entry
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
    ids: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # empty for an error
    evaluations: list[str | None] = field(default_factory=list)
    slices: list[tuple[str, ...]] = field(default_factory=list)  # tag=value
    flags: list[tuple[bool, bool]] = field(default_factory=list)  # abstained, truncated
    numbers: list[list[float]] = field(default_factory=list)  # in the order of NUMERIC; NaN: not said
    unreadable: dict[str, int] = field(default_factory=dict)  # reason to count

    def values(self) -> NDArray[np.float64]:
        """Return the numbers, shape (entries, len(NUMERIC))."""
        values = np.array(self.numbers, dtype=np.float64).reshape(len(self.numbers), len(NUMERIC))
        two = values[:, _ENTROPY] == OF_TWO
        share = np.clip(values[two, _CONFIDENCE], 1e-12, 1 - 1e-12)
        values[two, _ENTROPY] = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        return values


def read_results(entries: list[Entry]) -> Results:
    """Read entries of a results stream; what cannot be read is counted by its reason and left out."""
    rows = Results()
    for entry_id, fields in entries:
        if ERASED in fields:  # stands where somebody was forgotten
            continue
        try:
            _read_result(rows, entry_id.decode(), fields)
        except (ValueError, KeyError, AttributeError, TypeError):
            reason = _reason(fields)
            rows.unreadable[reason] = rows.unreadable.get(reason, 0) + 1
    return rows


def read_label(entry: Entry) -> Label | str:
    """Read one entry of a feedback stream; a string is the reason why it cannot be read."""
    entry_id, fields = entry[0].decode(), entry[1]
    try:
        _known_schema(fields)
        confidence = float(fields[b"confidence"])
        if not 0 <= confidence <= 1:
            return "malformed"
        entry_ms = int(entry_id.partition("-")[0])
        identity = _short(fields[b"id"], MAX_ID)
        previous = fields.get(b"previous_label")
        return Label(
            entry_id,
            entry_ms,
            identity,
            min(int(identity[-36:-28] + identity[-27:-23], 16), entry_ms),
            _version(fields[b"version"]),
            _short(fields[b"label"]),
            _short(fields[b"predicted"]),
            round(confidence * MICRO),
            None if previous is None else _short(previous),
            *_tags(fields.get(b"tags", b"{}")),
        )
    except (ValueError, KeyError, AttributeError, TypeError):
        return _reason(fields)


def _read_result(rows: Results, entry_id: str, fields: dict[bytes, bytes]) -> None:
    _known_schema(fields)
    status, role = STATUSES[fields[b"status"]], ROLES[fields.get(b"role", b"live")]
    version, identity = _version(fields[b"version"]), _short(fields[b"id"], MAX_ID)
    label = _short(fields[b"label"]) if status == "ok" else ""
    evaluation, slices = _tags(fields.get(b"tags", b"{}"))
    numbers = [float(fields.get(name, b"nan")) for name in _NUMERIC]
    if math.inf in numbers or -math.inf in numbers:
        raise ValueError
    numbers[_ENTROPY] = _entropy(fields.get(b"probabilities", b""))
    flags = (fields.get(b"abstained") == b"true", fields.get(b"truncated") == b"true")
    # Nothing below can fail: the columns stay equally long.
    rows.entry_ids.append(entry_id)
    rows.ids.append(identity)
    rows.versions.append(version)
    rows.roles.append(role)
    rows.statuses.append(status)
    rows.labels.append(label)
    rows.evaluations.append(evaluation)
    rows.slices.append(slices)
    rows.flags.append(flags)
    rows.numbers.append(numbers)


def _known_schema(fields: dict[bytes, bytes]) -> None:
    if int(fields.get(b"schema_version", b"1")) > SCHEMA_VERSION:
        raise ValueError


@lru_cache(maxsize=4096)
def _tags(tags: bytes) -> tuple[str | None, tuple[str, ...]]:
    """Return the evaluation run and the slices that *tags* name."""
    found = orjson.loads(tags)
    run = found.pop(EVALUATION, None)
    slices = (f"{name}={value}" for name, value in found.items())
    return None if run is None else _checked(str(run), MAX_LABEL), tuple(s for s in slices if len(s) <= MAX_ID)


def _entropy(probabilities: bytes) -> float:
    """Return the entropy in nats; `OF_TWO` for two labels, NaN for none."""
    labels = probabilities.count(b":")
    if labels <= 2:  # noqa: PLR2004
        return OF_TWO if labels else math.nan
    shares: list[float] = list(orjson.loads(probabilities).values())
    return -math.fsum(share * math.log(share) for share in shares if share > 0)


@lru_cache(maxsize=1024)
def _version(value: bytes) -> str:
    version = value.decode()
    if not _VERSION.fullmatch(version):
        raise ValueError
    return version


def _short(value: bytes, most: int = MAX_LABEL) -> str:
    return _checked(value.decode(), most)


def _checked(text: str, most: int) -> str:
    if not 0 < len(text) <= most:
        raise ValueError
    return text


def _reason(fields: dict[bytes, bytes]) -> str:
    version = fields.get(b"schema_version", b"1")
    return "newer" if version.isdigit() and int(version[:9]) > SCHEMA_VERSION else "malformed"

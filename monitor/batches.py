"""A batch of results, read column by column: entries with the same fields together, odd ones one by one."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields as columns_of
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeVar

import numpy as np
import orjson

from broker.forgetting import ERASED
from monitor.columns import (
    ENTROPY,
    MAX_ID,
    ROLES,
    STATUSES,
    UNREADABLE,
    Entry,
    Results,
    check_ranges,
    embeddings_of,
    entropies_of,
    flattened,
    known_schema,
    numbers_in,
    read_result,
    reason,
    short,
    tags_of,
    version_of,
)
from monitor.profiles import NUMERIC

ValueT = TypeVar("ValueT")
KeyT = TypeVar("KeyT", bound=Hashable)

_NUMERIC: Final = tuple((place, name.encode()) for place, name in enumerate(NUMERIC) if place != ENTROPY)
FEW: Final = 16  # are read one by one when one of them cannot be read
_NAMES, _VALUES = itemgetter(slice(0, None, 2)), itemgetter(slice(1, None, 2))
_COLUMNS: Final = tuple(column.name for column in columns_of(Results) if column.name != "unreadable")


class Alike:
    """Entries with the same fields in the same order, which is how a worker writes them."""

    def __init__(self, names: Sequence[bytes], places: list[int]) -> None:
        self.places = places  # within the batch
        self._at = {name: place for place, name in enumerate(names)}  # of a name that occurs twice the last

    def read(self, entry_ids: Sequence[bytes], values: Sequence[Sequence[bytes]]) -> Results:
        """Return the columns of all entries.

        Raises:
            UNREADABLE: one of them is not what a worker writes, or says it in another way.

        """
        rows, column = len(values), list(zip(*values, strict=True))
        said = {name: column[place] for name, place in self._at.items()}
        if b"schema_version" in said:
            _each(said[b"schema_version"], lambda text: known_schema({b"schema_version": text}))
        statuses = _each(said[b"status"], STATUSES.__getitem__)
        if len(set(statuses)) > 1:
            raise ValueError
        if statuses[0] == "ok" and b"probabilities" in said:
            names = _each(said[b"label"], _as_key)
            if not all(name in text for name, text in zip(names, said[b"probabilities"], strict=True)):
                raise ValueError
        tags = _each(said[b"tags"], tags_of) if b"tags" in said else [tags_of(b"{}")] * rows
        flags = [
            _each(said[name], b"true".__eq__) if name in said else [False] * rows
            for name in (b"abstained", b"truncated")
        ]
        return Results(
            _names(entry_ids),
            _times(entry_ids),
            _names(said[b"id"]),
            _each(said[b"version"], version_of),
            _each(said[b"role"], ROLES.__getitem__) if b"role" in said else ["live"] * rows,
            statuses,
            _each(said[b"label"], short) if statuses[0] == "ok" else [""] * rows,
            [run for run, _ in tags],
            [slices for _, slices in tags],
            np.array(flags, dtype=np.bool_).T,
            self._numbers(said, rows),
            embeddings_of(said.get(b"embedding", ()), rows),
        )

    def _numbers(self, said: Mapping[bytes, Sequence[bytes]], rows: int) -> Any:
        numbers = np.full((rows, len(NUMERIC)), np.nan)
        for place, name in _NUMERIC:
            if name in said:
                numbers[:, place] = numbers_in(said[name])
        check_ranges(numbers)
        if b"probabilities" in said:
            numbers[:, ENTROPY] = entropies_of(said[b"probabilities"])
        return numbers

    def read_into(
        self, into: "Batch", places: list[int], entry_ids: Sequence[bytes], values: Sequence[Sequence[bytes]]
    ) -> None:
        """Read entries at *places* of the batch; where one cannot be read with the others, in ever smaller parts."""
        try:
            into.add(places, self.read(entry_ids, values))
        except UNREADABLE:
            if len(places) > FEW:
                half = len(places) // 2
                self.read_into(into, places[:half], entry_ids[:half], values[:half])
                self.read_into(into, places[half:], entry_ids[half:], values[half:])
            else:
                self._read_singly(into, places, entry_ids, values)

    def _read_singly(
        self, into: "Batch", places: list[int], entry_ids: Sequence[bytes], values: Sequence[Sequence[bytes]]
    ) -> None:
        for place, entry_id, one in zip(places, entry_ids, values, strict=True):
            fields = {name: one[at] for name, at in self._at.items()}
            try:
                into.add([place], read_result(entry_id.decode(), fields))
            except UNREADABLE:
                into.skip(place, entry_id.decode(), reason(fields))


class Batch:
    """Parts of one batch, and where in it their rows are."""

    def __init__(self) -> None:
        self._parts: list[tuple[list[int], Results]] = []
        self._unreadable: list[tuple[int, str, str]] = []

    def add(self, places: list[int], rows: Results) -> None:
        """Add the rows of the entries at *places*."""
        self._parts.append((places, rows))

    def skip(self, place: int, entry_id: str, why: str) -> None:
        """Leave out the entry at *place*, which cannot be read."""
        self._unreadable.append((place, entry_id, why))

    def joined(self) -> Results:
        """Return all rows in the order of the batch."""
        unreadable = [(entry_id, why) for _, entry_id, why in sorted(self._unreadable)]
        if len(self._parts) == 1:
            whole = self._parts[0][1]
            whole.unreadable = unreadable
            return whole
        if not self._parts:
            return Results(unreadable=unreadable)
        order = np.argsort(np.concatenate([places for places, _ in self._parts])).tolist()
        columns: dict[str, Any] = {"unreadable": unreadable}
        for name in _COLUMNS:
            parts = [getattr(rows, name) for _, rows in self._parts]
            if isinstance(parts[0], np.ndarray):
                columns[name] = np.concatenate(parts)[order]
            else:
                column = list(chain.from_iterable(parts))
                columns[name] = [column[place] for place in order]
        return Results(**columns)


def read_results(entries: Sequence[Entry]) -> Results:
    """Read entries of a results stream; what cannot be read is left out, and said with its reason."""
    flat = [fields if isinstance(fields, list) else flattened(fields) for _, fields in entries]
    names = list(map(_NAMES, flat))
    kinds: dict[tuple[bytes, ...], Alike] = {}
    if names and names.count(names[0]) == len(names):
        kinds[tuple(names[0])] = Alike(names[0], list(range(len(names))))
    else:
        for place, kind in enumerate(map(tuple, names)):
            kinds.setdefault(kind, Alike(kind, [])).places.append(place)
    batch = Batch()
    for kind, found in kinds.items():
        if ERASED in kind:  # stands where somebody was forgotten
            continue
        entry_ids = [entries[place][0] for place in found.places]
        values = [_VALUES(flat[place]) for place in found.places]
        found.read_into(batch, found.places, entry_ids, values)
    return batch.joined()


def _each(column: Sequence[KeyT], read: Callable[[KeyT], ValueT]) -> list[ValueT]:
    """Read a column in which few values occur, each of them once."""
    found = {value: read(value) for value in set(column)}
    return [next(iter(found.values()))] * len(column) if len(found) == 1 else list(map(found.__getitem__, column))


def _as_key(label: bytes) -> bytes:
    """Return how JSON names a probability, as workers write it."""
    return orjson.dumps(label.decode()) + b":"


def _names(column: Sequence[bytes]) -> list[str]:
    """Read a column of names that all differ."""
    found = b"\n".join(column).decode().split("\n")
    if len(found) != len(column) or not 0 < min(map(len, found)) <= max(map(len, found)) <= MAX_ID:
        raise ValueError
    return found


def _times(entry_ids: Sequence[bytes]) -> Any:
    """Return the milliseconds of entry ids, which are MILLISECONDS-NUMBER."""
    found = orjson.loads(b"[%b]" % b",".join(entry_ids).replace(b"-", b","))
    return np.array(found[::2], dtype=np.int64)

"""What a model is to the worker, and which kinds there are. A further kind is one class and one line in `LOADERS`."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from broker.errors import ModelRefusedError
from broker.manifest import ModelManifest, digest_of, read_verified


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of one text."""

    probabilities: tuple[float, ...]  # in label id order
    tokens: int  # of the whole text, special tokens included
    truncated: bool  # the model read only the first `max_length` of them
    embedding: tuple[float, ...] | None = None  # coordinates in the version's own projection, where it has one


class Model(Protocol):
    """One loaded version. The same text gets the same scores whoever shares its batch."""

    manifest: ModelManifest

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        """Return the scores of each normalised text, in order; raise whatever goes wrong."""
        ...


Loader = Callable[[ModelManifest, Mapping[str, bytes]], Model]


def _loader(module: str, name: str) -> Loader:
    """Import a kind only when a model of it is loaded."""

    def load(manifest: ModelManifest, files: Mapping[str, bytes]) -> Model:
        model: Model = getattr(importlib.import_module(module), name)(manifest, files)
        return model

    return load


LOADERS: Final[dict[str, Loader]] = {
    "transformer": _loader("worker.transformer", "Transformer"),
    "linear": _loader("worker.linear", "load"),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version in memory: the model, its words, and the digest that names its files."""

    model: Model
    vocabulary: frozenset[str]
    digest: str  # of model.json, which holds the digests of all the other files

    @property
    def manifest(self) -> ModelManifest:
        """What the version says of itself."""
        return self.model.manifest


@dataclass(frozen=True, slots=True)
class Served:
    """A model and its versions in memory. Never changed: another one takes its place between two batches."""

    name: str
    live: str  # answers whoever names none
    versions: Mapping[str, Loaded]  # whoever pins one of them gets it, a shadow too
    canary: str | None = None  # answers the requests that were stamped with it


def load_version(folder: Path) -> Loaded:
    """Load the version in *folder* after every file's digest was checked, and try it once.

    Raises:
        ModelRefusedError: the folder is damaged, of an unknown kind, or its model gives no valid scores.

    """
    manifest, files = read_verified(folder)
    loader = LOADERS.get(manifest.kind)
    if loader is None:
        raise ModelRefusedError(f"{folder}: kind {manifest.kind!r} is none of {', '.join(sorted(LOADERS))}")
    try:
        model = loader(manifest, files)
        (scores,) = model.predict(["a first text"])
        vocabulary = frozenset(files.get("vocabulary.txt", b"").decode().split("\n")) - {""}
    except ModelRefusedError as error:
        raise ModelRefusedError(f"{folder}: {error}") from error
    except Exception as error:
        raise ModelRefusedError(f"{folder}: the model cannot be used ({first_line(error)})") from error
    if len(scores.probabilities) != len(manifest.labels):
        raise ModelRefusedError(
            f"{folder}: the model scores {len(scores.probabilities)} labels, model.json names {len(manifest.labels)}"
        )
    _check_golden(folder, model, files)
    return Loaded(model, vocabulary, digest_of((folder / "model.json").read_bytes()))


def _check_golden(folder: Path, model: Model, files: Mapping[str, bytes]) -> None:
    from worker.golden import check_golden  # noqa: PLC0415 which needs what is above

    try:
        check_golden(model, files)
    except ModelRefusedError as error:
        raise ModelRefusedError(f"{folder}: {error}") from error


def first_line(error: Exception) -> str:
    """Return the beginning of what *error* says, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

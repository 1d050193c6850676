"""What a model is to the worker, and which kinds there are. A further kind is one class and one line in `LOADERS`."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from broker.errors import ModelRefusedError
from broker.manifest import ModelManifest, digest_of, live_version, models_in, read_verified


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of one text."""

    probabilities: tuple[float, ...]  # in label id order
    tokens: int  # of the whole text, special tokens included
    truncated: bool  # the model read only the first `max_length` of them


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
    "linear": _loader("worker.linear", "Linear"),
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
    """A model and its versions in memory; the live one answers whoever names none."""

    name: str
    live: str
    versions: Mapping[str, Loaded]


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
    except ModelRefusedError as error:
        raise ModelRefusedError(f"{folder}: {error}") from error
    except Exception as error:
        raise ModelRefusedError(f"{folder}: the model cannot be used ({_first_line(error)})") from error
    if len(scores.probabilities) != len(manifest.labels):
        raise ModelRefusedError(
            f"{folder}: the model scores {len(scores.probabilities)} labels, model.json names {len(manifest.labels)}"
        )
    vocabulary = frozenset(files.get("vocabulary.txt", b"").decode().split("\n")) - {""}
    return Loaded(model, vocabulary, digest_of((folder / "model.json").read_bytes()))


def load_models(store: Path, names: Sequence[str]) -> list[Served]:
    """Load the live version of each of *names*, or of every model in *store* if there are none.

    Raises:
        ModelRefusedError: there is nothing to serve, or one of them cannot be loaded.

    """
    chosen = list(names) or models_in(store)
    if not chosen:
        raise ModelRefusedError(f"{store}: no model with a live.json; set OBSERVA_MODELS or run `just train`")
    return [_load_live(store, name) for name in chosen]


def _load_live(store: Path, name: str) -> Served:
    version = live_version(store, name)
    loaded = load_version(store / name / version)
    if (loaded.manifest.name, loaded.manifest.version) != (name, version):
        raise ModelRefusedError(
            f"{store / name / version}: model.json is of {loaded.manifest.name} {loaded.manifest.version}"
        )
    return Served(name, version, {version: loaded})


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

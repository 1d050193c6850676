"""A model version on disk: what its folder must say of itself, and the check that it is what it says.

models/NAME/live.json          which version is live (the pointer)
models/NAME/VERSION/model.json the manifest: this module
models/NAME/VERSION/reference.json, model.onnx, tokenizer.json, vocabulary.txt
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from broker.errors import ModelRefusedError
from broker.text import Normalisation

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
SHA256_PATTERN = r"^[0-9a-f]{64}$"

ModelName = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
ModelVersion = ModelName
Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]  # sums of them are exact as whole numbers and as floats


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


DocumentT = TypeVar("DocumentT", bound=_Document)


class ModelManifest(_Document):
    """``model.json``: everything a service may need to know of a version without loading it."""

    schema_version: int = 1
    name: ModelName
    version: ModelVersion
    kind: str  # which loader reads it: "transformer" or "linear"; see worker/models.py
    labels: Annotated[tuple[Label, ...], Field(min_length=2)]  # position is the label id
    max_length: Annotated[int, Field(ge=1)]  # tokens, special tokens included
    normalisation: Normalisation = Normalisation()
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0  # below this confidence an answer is abstained
    target_accuracy: Annotated[float, Field(gt=0, lt=1)] = 0.80  # the monitor's alarm line
    metrics: dict[str, float]  # measured on the test split: accuracy, f1_macro, ...
    data_digest: Sha256  # of the normalised, split training data
    code_revision: str  # git commit of the trainer, "+" appended when the tree had changes
    created: str  # ISO 8601, UTC
    lock: dict[str, str] = {}  # of dvc.lock: what each stage wrote, to its digest there; empty if made without DVC
    files: dict[str, Sha256]  # every file of the folder but model.json itself

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            msg = "labels must differ from each other"
            raise ValueError(msg)
        return self


class Histogram(_Document):
    """Counts in fixed bins.

    ``edges`` are the inner edges, ascending; bin 0 is ``x <= edges[0]``, bin i is ``edges[i-1] < x <= edges[i]``,
    the last bin is ``x > edges[-1]``: ``numpy.searchsorted(edges, x, side="left")``.
    """

    edges: tuple[Finite, ...]
    counts: tuple[Count, ...]

    @model_validator(mode="after")
    def _one_more_count_than_edges(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or list(self.edges) != sorted(set(self.edges)):
            msg = "edges must ascend and counts must be one more than edges"
            raise ValueError(msg)
        return self


class Calibration(_Document):
    """Knots of the map from reported confidence to the measured share of right answers (linear between knots)."""

    confidence: tuple[Share, ...]
    accuracy: tuple[Share, ...]

    @model_validator(mode="after")
    def _one_accuracy_a_knot(self) -> Self:
        if len(self.confidence) != len(self.accuracy) or list(self.confidence) != sorted(self.confidence):
            msg = "confidence must ascend, and accuracy must have as many knots"
            raise ValueError(msg)
        return self


class ReferenceProfile(_Document):
    """``reference.json``: how texts and answers looked on held-out data when the version was made."""

    schema_version: int = 1
    count: Annotated[int, Field(ge=1)]  # texts profiled
    source: str  # which data, in words
    features: dict[str, Histogram]  # characters, words, tokens, oov_ratio, non_latin_ratio, ...
    labels: dict[str, Count]  # predicted label to count
    calibration: Calibration | None = None


class Canary(_Document):
    """A version that answers a share of the requests, for as long as it is tried."""

    version: ModelVersion
    share: Annotated[float, Field(gt=0, lt=1)]  # of the requests that name no version


class Pointer(_Document):
    """``live.json``: which versions of a model are wanted, and how often that has changed."""

    version: ModelVersion  # live: answers whoever names no other
    generation: Annotated[int, Field(ge=1)]
    previous: ModelVersion | None = None  # live before: where a rollback leads
    canary: Canary | None = None
    shadows: dict[ModelVersion, Annotated[float, Field(gt=0, le=1)]] = {}  # version to the share of requests it sees

    def promoted(self, version: ModelVersion) -> "Pointer":
        """Return what is wanted once *version* is live; it is then neither canary nor shadow any more."""
        if version == self.version:
            return self
        canary = None if self.canary and self.canary.version == version else self.canary
        return self._with(version, canary)

    def rolled_back(self) -> "Pointer":
        """Return what is wanted once the version before is live again; a canary ends, since nothing is tried now."""
        return self if self.previous is None else self._with(self.previous, None)

    def _with(self, version: ModelVersion, canary: Canary | None) -> "Pointer":
        shadows = {each: share for each, share in self.shadows.items() if each != version}
        return self.model_copy(
            update={"version": version, "previous": self.version, "canary": canary, "shadows": shadows}
        )


class GoldenText(_Document):
    """A text and what the version said of it when it was made."""

    text: Annotated[str, Field(min_length=1)]
    probabilities: tuple[float, ...]  # in label id order


class Golden(_Document):
    """``golden.json``: texts whose answers a worker repeats before it lets the version serve; a folder may have it."""

    schema_version: int = 1
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.05  # of a probability: int8 sums differ from CPU to CPU
    texts: Annotated[tuple[GoldenText, ...], Field(min_length=1, max_length=64)]


def read_manifest(folder: Path) -> ModelManifest:
    """Read ``model.json`` of *folder* without checking any other file.

    Raises:
        ModelRefusedError: the file is missing or is not a manifest.

    """
    return _read(folder / "model.json", ModelManifest)


def read_reference(folder: Path) -> ReferenceProfile:
    """Read ``reference.json`` of *folder*.

    Raises:
        ModelRefusedError: the file is missing or is not a reference profile.

    """
    return _read(folder / "reference.json", ReferenceProfile)


def read_verified(folder: Path) -> tuple[ModelManifest, dict[str, bytes]]:
    """Return the manifest and the bytes of every file it names, each checked against its sha256.

    The caller parses those bytes and opens no path again, so what was checked is what is loaded.

    Raises:
        ModelRefusedError: a file is missing, unlisted, outside the folder, or not what its digest says.

    """
    manifest = read_manifest(folder)
    unlisted = {path.name for path in folder.iterdir()} - manifest.files.keys() - {"model.json"}
    if unlisted:
        msg = f"{folder}: not named in model.json: {', '.join(sorted(unlisted))}; remove them or train again"
        raise ModelRefusedError(msg)
    return manifest, {name: _read_file(folder, name, digest) for name, digest in manifest.files.items()}


def digest_of(content: bytes) -> str:
    """Return the sha256 of *content* in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def live_version(models: Path, name: str) -> str:
    """Return the version that the pointer file of model *name* under *models* makes live.

    Raises:
        ModelRefusedError: there is no such model or its pointer cannot be read.

    """
    return _read(models / name / "live.json", Pointer).version


def models_in(models: Path) -> list[str]:
    """Return the names of the models under *models* that have a pointer file, sorted."""
    if not models.is_dir():
        return []
    return sorted(
        path.parent.name for path in models.glob("*/live.json") if re.fullmatch(NAME_PATTERN, path.parent.name)
    )


def parsed(content: bytes, document: type[DocumentT], where: object) -> DocumentT:
    """Read *content*, found at *where*, as *document*.

    Raises:
        ModelRefusedError: it is none.

    """
    try:
        return document.model_validate_json(content)
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise ModelRefusedError(f"{where}: {what}") from error


def _read(path: Path, document: type[DocumentT]) -> DocumentT:
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); check OBSERVA_MODELS or train the model again"
        raise ModelRefusedError(msg) from error
    return parsed(content, document, path)


def _read_file(folder: Path, name: str, digest: str) -> bytes:
    if Path(name).name != name or (folder / name).is_symlink():
        msg = f"{folder}: model.json names {name!r}, which is not a plain file of the folder"
        raise ModelRefusedError(msg)
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        msg = f"{folder / name}: cannot be read ({error.strerror}); restore the file or train the model again"
        raise ModelRefusedError(msg) from error
    if digest_of(content) != digest:
        msg = f"{folder / name}: sha256 differs from model.json; the file is damaged or was changed"
        raise ModelRefusedError(msg)
    return content

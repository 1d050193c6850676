"""What params.yaml holds, checked."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from broker.errors import SettingsError
from broker.manifest import Label, ModelName, Sha256
from broker.text import Normalisation
from trainer.sources import DatasetParams

PARAMS = Path(__file__).with_name("params.yaml")


class _Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Archive(_Params):
    """A distribution on the package index, pinned by digest."""

    requirement: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+$")]
    source_distribution: bool
    file: str
    sha256: Sha256


class _ModelParams(_Params):
    labels: tuple[Label, ...]
    train_on: Annotated[tuple[str, ...], Field(min_length=1)]  # data sets; their test parts give the figures
    judge_on: tuple[str, ...] = ()  # further data sets, never learnt from: how it does elsewhere
    target_accuracy: float
    max_length: int  # tokens the worker lets through
    seed: int
    normalisation: Normalisation  # of a text before the model sees it, here and in the worker
    class_weights: Literal["balanced"] | None = None  # balanced: each label counts alike, however rare
    calibration: Literal["temperature"] | None = None  # fitted on validation, folded into the last layer


class TransformerParams(_ModelParams):
    """How an encoder is fine-tuned."""

    kind: Literal["transformer"]
    base: str  # a name under archives, a local folder, or a checkpoint of the hub: DistilBERT, or BERT to be converted
    epochs: Annotated[int, Field(ge=1)]  # at most
    patience: Annotated[int, Field(ge=1)]  # epochs without a lower validation loss after which it stops
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: float  # the highest, reached after the warm-up
    warmup_share: float  # of all steps
    weight_decay: float
    label_smoothing: float
    train_length: int  # tokens; longer training texts are cut, which 79 tokens (the longest movie snippet) hardly are


class LinearParams(_ModelParams):
    """How logistic regression over TF-IDF is fitted."""

    kind: Literal["linear"]
    inverse_regularisation: float
    longest_ngram: int
    least_texts: int  # a word or pair in fewer training texts is left out


ModelParams = Annotated[TransformerParams | LinearParams, Field(discriminator="kind")]


class Params(_Params):
    """The whole of params.yaml."""

    archives: dict[str, Archive]
    datasets: dict[str, DatasetParams]
    models: dict[ModelName, ModelParams]


def read_params(path: Path = PARAMS) -> Params:
    """Read and check the parameters at *path*.

    Raises:
        SettingsError: the file cannot be read, or a value is missing, unknown or of the wrong type.

    """
    try:
        return TypeAdapter(Params).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise SettingsError(f"{path}: {error}") from error

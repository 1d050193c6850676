"""A stranger's checkpoint, a folder as Hugging Face's libraries write it, read without running any code of its own.

`converted` and `answers` work in a process of their own: ``python -m trainer.stranger``, which `trainer.apart` starts.
"""

import random
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from tokenizers import Tokenizer

from broker.errors import ModelRefusedError
from trainer import apart
from trainer.evaluation import alike
from trainer.export import exported
from trainer.onnx_model import TransformerGraph, softmax
from trainer.opened import MOST_WEIGHTS, content, copied, document
from trainer.quantise import quantise
from trainer.verify import STRANGERS_LIMIT

SECONDS: Final = 1800.0  # by the clock
MOST_JSON: Final = 64 << 20
MOST_LABELS: Final = 10_000
MOST_LAYERS: Final = 1000
REPEATED: Final = re.compile("layer|block|group|expert")  # names of numbers in a config that say how often to build
LONGEST: Final = 512  # tokens, where the checkpoint names no maximum
TEXTS: Final = 96
CODE: Final = ("auto_map", "custom_pipelines", "transformers_weights")  # keys of a config that name other files
CONVERTED: Final = (  # what tests/trainer/test_stranger.py has seen converted
    *("albert", "bert", "big_bird", "camembert", "data2vec-text", "deberta", "deberta-v2", "distilbert"),
    *("electra", "ibert", "modernbert", "mpnet", "rembert", "roberta", "roformer", "squeezebert", "xlm-roberta"),
)
CLOSE: Final = 1e-3  # most that single precision may move a probability
FAST: Final = "where it was made: AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)"
ODD: Final = ("  Two  SPACES ", "\u00c9t\u00e9 na\u00efve", "\u65e5\u672c\u8a9e", "\U0001f600!", "[MASK] </s> <unk>")
PLAIN: Final = ("a", "the", "good", "bad", "film", "plot", "was", "not", "very", "market", "goal", "new", "one")


class Found(BaseModel):
    """What is said of a converted checkpoint beside its files."""

    labels: tuple[str, ...]
    max_length: int
    metrics: dict[str, float]


class Answers(BaseModel):
    """What a checkpoint says of texts."""

    labels: tuple[str, ...]
    ids: list[list[int]]  # of each text, as its own tokenizer reads it
    probabilities: list[list[float]]  # [texts, labels]


def converted(folder: Path, *, max_length: int | None, int8: bool) -> tuple[dict[str, bytes], Found]:
    """Return the files of a version of the classifier in *folder*, and what else was found.

    Raises:
        ModelRefusedError: a file is missing or damaged, or it is no classifier of one label a text.

    """
    with apart.work("trainer.stranger", folder, {"max_length": max_length, "int8": int8}, SECONDS) as made:
        files = {name: content(made, name, MOST_WEIGHTS) for name in ("model.onnx", "tokenizer.json")}
        return files, Found.model_validate_json(content(made, "found.json", MOST_JSON))


def answers(folder: Path, texts: Sequence[str], max_length: int) -> Answers:
    """Return the labels of the checkpoint in *folder*, and its own probabilities of *texts*.

    Raises:
        ModelRefusedError: a file is missing or damaged, or it is no classifier of one label a text.

    """
    with apart.work("trainer.stranger", folder, {"max_length": max_length, "texts": list(texts)}, SECONDS) as made:
        return Answers.model_validate_json(content(made, "found.json", MOST_JSON))


def perform(source: Path, made: Path, asked: dict[str, Any]) -> None:
    """Write into *made* what is asked of the checkpoint in *source*: a version's files, or its answers to texts."""
    with tempfile.TemporaryDirectory() as copy:
        copied(source, Path(copy))
        config = _config(Path(copy))
        labels = labels_of(config)
        model, tokenizer = _loaded(Path(copy))
    try:
        found = _found(model, tokenizer, labels, made, asked)
    except (ModelRefusedError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = f"a {model.config.model_type} cannot be converted here ({apart.first_line(error)})"
        raise ModelRefusedError(f"{reason}; what can be: {', '.join(CONVERTED)}") from error
    (made / "found.json").write_text(found.model_dump_json(), encoding="utf-8")


def _found(model: Any, tokenizer: Any, labels: tuple[str, ...], made: Path, asked: dict[str, Any]) -> BaseModel:
    if "texts" in asked:
        rows = _ids(tokenizer, asked["texts"], asked["max_length"])
        return Answers(labels=labels, ids=rows, probabilities=softmax(_logits(model, rows)).tolist())
    most = min(asked["max_length"] or LONGEST, _places(model), tokenizer.model_max_length)
    graph, plain, metrics = _converted(model, tokenizer, most, int8=asked["int8"])
    (made / "model.onnx").write_bytes(graph)
    (made / "tokenizer.json").write_bytes(plain)
    return Found(labels=labels, max_length=most, metrics=metrics)


def labels_of(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the labels of a checkpoint in id order.

    Raises:
        ModelRefusedError: it gives no single label, or its labels are not numbered from 0.

    """
    count = config.get("num_labels", 2)
    if not isinstance(count, int) or count > MOST_LABELS:
        raise ModelRefusedError(f"config.json: num_labels is no number up to {MOST_LABELS}")
    named = config.get("id2label") or {str(at): f"LABEL_{at}" for at in range(count)}
    try:
        numbered = {int(number): str(label) for number, label in named.items()}
    except (AttributeError, ValueError) as error:
        raise ModelRefusedError("config.json: id2label is no map from numbers to labels") from error
    if sorted(numbered) != list(range(len(numbered))) or len(numbered) < 2:  # noqa: PLR2004 one label is no choice
        raise ModelRefusedError(
            f"config.json: id2label numbers {len(numbered)} labels; it takes 0, 1, ... and at least 2"
        )
    if config.get("problem_type") in {"regression", "multi_label_classification"}:
        raise ModelRefusedError(
            f"config.json: problem_type is {config['problem_type']}; one label a text is served here"
        )
    return tuple(numbered[at] for at in range(len(numbered)))


def sample(tokenizer: Tokenizer, most: int) -> list[str]:
    """Return texts of the tokenizer's own vocabulary, some of more than *most* tokens, and odd ones, always the same.

    The long ones begin otherwise than they end, so that it shows which end is cut.
    """
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha() and word.isascii()) or list(PLAIN)
    draw = random.Random(0)
    lengths = [*(most + more for more in (0, 1, 40, 200)), *(draw.randint(1, 60) for _ in range(TEXTS - 5 - len(ODD)))]
    return ["", *ODD, *(" ".join(draw.choices(words, k=length)) for length in lengths)]


def _config(folder: Path) -> dict[str, Any]:
    config = document(folder / "config.json")
    if asked := [key for key in CODE if key in config]:
        raise ModelRefusedError(f"config.json asks for code or files of its own ({asked[0]}), which are not read")
    counts = {key: value for key, value in config.items() if REPEATED.search(key) and isinstance(value, int)}
    if endless := [key for key, value in counts.items() if value > MOST_LAYERS]:
        raise ModelRefusedError(f"config.json: {endless[0]} is {counts[endless[0]]}; at most {MOST_LAYERS} are built")
    return config


def _loaded(folder: Path) -> tuple[Any, Any]:
    """Return the model and its tokenizer."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415 loads in seconds

    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(  # nosec B615 a local folder, and no other
            folder, use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as error:
        raise ModelRefusedError(f"its weights cannot be read ({apart.first_line(error)})") from error
    if report["missing_keys"]:
        raise ModelRefusedError(f"its weights lack {min(report['missing_keys'])}: it was not trained to classify")
    try:
        wrapped = AutoTokenizer.from_pretrained(folder, use_fast=True, **options)  # nosec B615 as above
    except Exception as error:
        raise ModelRefusedError(f"its tokenizer cannot be read ({apart.first_line(error)}); {FAST}") from error
    if not wrapped.is_fast:
        raise ModelRefusedError(f"its tokenizer, {type(wrapped).__name__}, has no form as tokenizer.json; {FAST}")
    if infinite := [name for name, weight in model.named_parameters() if not weight.isfinite().all()]:
        raise ModelRefusedError(f"its weights are not all finite numbers: {infinite[0]}")
    return model.float().train(mode=False), wrapped


def _ids(tokenizer: Any, texts: Sequence[str], most: int) -> list[list[int]]:
    """Return the ids of each text as the checkpoint's own tokenizer reads it, with every setting that it has."""
    return [list(tokenizer(text, truncation=True, max_length=most)["input_ids"]) for text in texts]


def _plain(tokenizer: Any, most: int) -> bytes:
    """Return the tokenizer without padding and truncation of its own, but for the side on which it cuts."""
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    if tokenizer.truncation_side != "right":
        plain.enable_truncation(most, direction=tokenizer.truncation_side)
    written: str = plain.to_str()
    return written.encode()


def _places(model: Any) -> int:
    """Return how many tokens have a position; some networks leave the first ones to padding."""
    for name, table in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(table, "weight"):
            first = getattr(table, "padding_idx", None)
            return int(table.weight.shape[0]) - (0 if first is None else first + 1)
    return int(getattr(model.config, "max_position_embeddings", LONGEST))


def _converted(model: Any, tokenizer: Any, most: int, *, int8: bool) -> tuple[bytes, bytes, dict[str, float]]:
    """Return the graph of *model*, its tokenizer, and how the graph agrees with the model."""
    whole, plain = exported(model), _plain(tokenizer, most)
    served = quantise(whole) if int8 else whole
    graph = TransformerGraph(served, plain, most)
    texts = sample(Tokenizer.from_buffer(plain), most)
    rows = _ids(tokenizer, texts, most)
    if other := [text for text, mine, own in zip(texts, graph.encode(texts), rows, strict=True) if mine != own]:
        raise ModelRefusedError(
            f"its tokenizer has settings that tokenizer.json cannot say: it reads {other[0][:60]!r} otherwise"
        )
    found = alike(softmax(_logits(model, rows)), graph.probabilities(texts), STRANGERS_LIMIT)
    if not int8 and found.difference > CLOSE:
        raise ModelRefusedError(f"its graph answers otherwise: a probability differs by {found.difference:.1e}")
    return served, plain, found.metrics()


def _logits(model: Any, rows: Sequence[list[int]]) -> NDArray[np.float32]:
    import torch  # noqa: PLC0415 it loads in seconds

    with torch.inference_mode():
        found = [
            model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
            .logits[0]
            .numpy()
            for ids in rows
        ]
    return np.stack(found)


if __name__ == "__main__":
    apart.perform(perform)

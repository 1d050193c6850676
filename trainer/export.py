"""A classifier as an ONNX graph in single precision: a DistilBERT of ours, or a stranger's network."""

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import DistilBertForSequenceClassification

OPSET = 18


def to_onnx(model: "DistilBertForSequenceClassification") -> bytes:
    """Return the graph of *model*, not fused and not optimised: quantising it needs its matrix products apart.

    Inputs ``input_ids`` and ``attention_mask``: int64 [texts, tokens]. Outputs ``logits``: float32 [texts, labels], and
    ``pooled``: float32 [texts, width].
    """
    from optimum.exporters.onnx import onnx_export_from_model  # noqa: PLC0415 only those who train have it

    from trainer.pooling import with_pooled  # noqa: PLC0415 the same

    with tempfile.TemporaryDirectory() as folder:
        onnx_export_from_model(model, Path(folder), task="text-classification", opset=OPSET, do_validation=False)
        return with_pooled(Path(folder, "model.onnx").read_bytes())


def exported(model: Any) -> bytes:
    """Return the graph of any *model* with the same inputs; ``pooled`` only where it has a hidden state."""
    from optimum.exporters.onnx import onnx_export_from_model  # noqa: PLC0415 only those who train have it

    from trainer.pooling import NoHiddenStateError, with_pooled  # noqa: PLC0415 the same

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: what the graph answers is compared with the model right after
        onnx_export_from_model(model, Path(folder), task="text-classification", opset=OPSET, do_validation=False)
        content = _without_types(Path(folder, "model.onnx").read_bytes())
    try:
        return with_pooled(content)
    except NoHiddenStateError:
        return content  # the monitor sees no embedding, and everything else


def _without_types(content: bytes) -> bytes:
    """Return the graph with token types of its own, all 0, where it wants them as an input: one text has no others."""
    from onnx import helper, load_from_string  # noqa: PLC0415 only those who train have it

    model = load_from_string(content)
    kept = [put for put in model.graph.input if put.name != "token_type_ids"]
    if len(kept) == len(model.graph.input):
        return content
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.node.insert(0, helper.make_node("Sub", ["input_ids", "input_ids"], ["token_type_ids"]))
    changed: bytes = model.SerializeToString()
    return changed

"""A fine-tuned DistilBERT as an ONNX graph in single precision."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

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

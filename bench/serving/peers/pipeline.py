"""FastAPI with a transformers pipeline over ONNX Runtime, as a first version is often written; the same model file."""

import json
import os
import tempfile
from pathlib import Path

from fastapi import FastAPI
from optimum.onnxruntime import ORTModelForSequenceClassification
from pydantic import BaseModel
from transformers import PreTrainedTokenizerFast, pipeline

FOLDER = Path(os.environ["BENCH_MODEL"])

app = FastAPI()


class Body(BaseModel):
    """One text."""

    text: str


def _pipeline() -> object:
    manifest = json.loads((FOLDER / "model.json").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.onnx").symlink_to(FOLDER / "model.onnx")
        labels = dict(enumerate(manifest["labels"]))
        config = {"model_type": "distilbert", "id2label": labels, "label2id": {name: i for i, name in labels.items()}}
        (Path(folder) / "config.json").write_text(json.dumps(config))
        model = ORTModelForSequenceClassification.from_pretrained(folder, file_name="model.onnx")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(FOLDER / "tokenizer.json"), model_max_length=manifest["max_length"], pad_token="[PAD]"
    )
    return pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True)


classify = _pipeline()


@app.post("/predict")
def predict(body: Body) -> dict[str, object]:
    """Run the pipeline in FastAPI's thread pool."""
    (found,) = classify([body.text])  # type: ignore[operator]
    return {"label": found["label"], "confidence": found["score"]}

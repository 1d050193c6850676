"""A MiniLM encoder (BERT with token types) as the DistilBERT it is, without loss."""

import json
from typing import TYPE_CHECKING

from broker.errors import ObservaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from transformers import DistilBertForSequenceClassification

TENSORS = {  # of a BERT layer, by DistilBERT's names
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}


class ConversionError(ObservaError):
    """A checkpoint is not the BERT that converts to DistilBERT without loss."""


def classifier_from(
    config: bytes,
    weights: bytes,
    labels: tuple[str, ...],
) -> "DistilBertForSequenceClassification":
    """Return a DistilBERT with the encoder of a BERT checkpoint and an untrained head for *labels*.

    *config* is its config.json, *weights* its model.safetensors.

    Raises:
        ConversionError: a tensor is missing or of another shape.

    """
    from safetensors.torch import load  # noqa: PLC0415 torch loads in seconds: only those who train wait for it
    from transformers import DistilBertConfig, DistilBertForSequenceClassification  # noqa: PLC0415

    bert = json.loads(config)
    shape = {
        "vocab_size": bert["vocab_size"],
        "dim": bert["hidden_size"],
        "n_layers": bert["num_hidden_layers"],
        "n_heads": bert["num_attention_heads"],
        "hidden_dim": bert["intermediate_size"],
        "activation": bert["hidden_act"],
        "max_position_embeddings": bert["max_position_embeddings"],
        "sinusoidal_pos_embds": False,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: position for position, label in enumerate(labels)},
    }
    model = DistilBertForSequenceClassification(DistilBertConfig.from_dict(shape))
    try:
        model.distilbert.load_state_dict(encoder_of(load(weights), bert["num_hidden_layers"]), strict=True)
    except (KeyError, RuntimeError) as error:
        raise ConversionError(f"the checkpoint does not convert to DistilBERT: {error}") from error
    return model


def encoder_of(bert: "Mapping[str, torch.Tensor]", layers: int) -> "dict[str, torch.Tensor]":
    """Rename the tensors of *bert* to DistilBERT's names.

    DistilBERT has no token types. One text alone always has type 0, so that embedding joins the position's.
    """
    positions = bert["embeddings.position_embeddings.weight"] + bert["embeddings.token_type_embeddings.weight"][0]
    encoder = {
        "embeddings.word_embeddings.weight": bert["embeddings.word_embeddings.weight"],
        "embeddings.position_embeddings.weight": positions,
    }
    for part in ("weight", "bias"):
        encoder[f"embeddings.LayerNorm.{part}"] = bert[f"embeddings.LayerNorm.{part}"]
        for layer in range(layers):
            for ours, theirs in TENSORS.items():
                encoder[f"transformer.layer.{layer}.{ours}.{part}"] = bert[f"encoder.layer.{layer}.{theirs}.{part}"]
    return encoder

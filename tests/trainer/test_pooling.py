"""The exported graph answers as torch, and its second output is the mean over the tokens one layer before the last."""

# ruff: noqa: PLC0415 - imported inside, so that an environment without the libraries can still collect and skip these

import numpy as np
import pytest

from tests.trainer.made import LABELS, WORDS, checkpoint

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.filterwarnings("ignore"),  # exporters use what their own libraries deprecate
    pytest.mark.timeout(600),
]


def test_the_last_layer_is_computed_for_two_tokens_and_pooling_is_exact(bert, tokenizer):
    import torch
    from onnx import load_from_string

    from trainer.convert import classifier_from
    from trainer.export import to_onnx
    from trainer.onnx_model import TransformerGraph

    model = classifier_from(*checkpoint(bert), LABELS).train(mode=False)
    content = to_onnx(model)
    assert any(node.output[0] == "first.token.only" for node in load_from_string(content).graph.node)
    graph = TransformerGraph(content, tokenizer.to_str().encode(), 16)
    texts = ["", " ".join(WORDS[4:10]), "good film", "bad " * 12]
    together = graph.vectors(texts)
    for row, vector in zip(graph.encode(texts), together, strict=True):
        with torch.inference_mode():
            found = model(torch.tensor([row]), output_hidden_states=True)
        assert graph.logits([row], padding=5)[0] == pytest.approx(found.logits[0].numpy(), abs=1e-5)
        assert vector == pytest.approx(found.hidden_states[-2][0].mean(0).numpy(), abs=1e-3)
        assert (graph._run("pooled", [row], 7)[0] == vector).all()
        assert np.isfinite(vector).all()

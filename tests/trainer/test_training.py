"""Each step from random weights to a served graph, on models small enough to train in a second."""

# ruff: noqa: PLC0415 - imported inside, so that an environment without the libraries can still collect and skip these

import numpy as np
import pytest

from tests.trainer.made import LABELS, LINEAR, PARAMS, WORDS, checkpoint, made_examples
from trainer.splits import Example, Splits

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.filterwarnings("ignore"),  # exporters and mlflow use what their own libraries deprecate
    pytest.mark.timeout(600),  # importing torch and the exporter alone took two minutes on a busy machine
]


def trained(bert, tokenizer, reports=None):
    import torch

    from trainer.convert import classifier_from
    from trainer.finetune import finetune

    torch.manual_seed(PARAMS.seed)
    model = classifier_from(*checkpoint(bert), LABELS)
    splits = Splits(made_examples(64, 1), made_examples(32, 2), [])
    finetune(model, tokenizer, splits, PARAMS, (reports if reports is not None else []).append)
    return model


@pytest.fixture(scope="module")
def model(bert, tokenizer):
    return trained(bert, tokenizer)


def test_the_converted_encoder_computes_what_the_bert_did(bert):
    import torch

    from trainer.convert import classifier_from

    converted = classifier_from(*checkpoint(bert), LABELS).train(mode=False)
    ids = torch.randint(len(WORDS), (5, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 7:] = 0
    with torch.inference_mode():
        expected = bert(ids, attention_mask=mask).last_hidden_state[mask.bool()]
        found = converted.distilbert(ids, attention_mask=mask).last_hidden_state[mask.bool()]
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_checkpoint_that_lacks_a_tensor_is_refused(bert):
    from safetensors.torch import load, save

    from trainer.convert import ConversionError, classifier_from

    config, weights = checkpoint(bert)
    tensors = load(weights)
    del tensors["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ConversionError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        classifier_from(config, save(tensors), LABELS)


def test_fine_tuning_learns_and_keeps_the_epoch_of_the_lowest_loss(bert, tokenizer):
    from trainer.finetune import encode, evaluate

    reports = []
    loss, accuracy = evaluate(
        trained(bert, tokenizer, reports), encode(made_examples(32, 2), tokenizer, PARAMS.max_length)
    )
    assert [report.epoch for report in reports] == list(range(1, 13))
    assert loss == pytest.approx(min(report.valid_loss for report in reports), abs=1e-6)
    assert accuracy > 0.9


def test_the_same_seed_gives_the_same_weights(model, bert, tokenizer):
    import torch

    again = trained(bert, tokenizer).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again[name]), name


def test_the_served_graph_answers_as_the_model_and_whoever_shares_its_batch(model, tokenizer):
    from trainer.transformer import candidate_of

    candidate = candidate_of(model, tokenizer.to_str().encode(), made_examples(64, 3), PARAMS)
    assert candidate.metrics["agreement_torch"] == 1.0
    assert candidate.metrics["agreement_fp32"] >= 0.99
    assert candidate.metrics["invariance_max_difference"] <= 1e-5


def test_quantising_uses_one_operator_outside_the_standard(model):
    from onnx import load_from_string

    from trainer.export import to_onnx
    from trainer.quantise import quantise

    full = to_onnx(model)
    graph = load_from_string(quantise(full)).graph
    assert {node.op_type for node in graph.node if node.domain} == {"MatMulIntegerToFloat"}
    assert sum(node.op_type == "MatMulIntegerToFloat" for node in graph.node) == 12  # six a layer
    assert [value.name for value in graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in graph.output] == ["logits"]


def test_no_pair_of_products_overflows_sixteen_bits(model):
    from onnx import load_from_string, numpy_helper

    from trainer.export import to_onnx
    from trainer.quantise import ACTIVATION_LIMIT, ZERO_POINT, quantise

    graph = load_from_string(quantise(to_onnx(model))).graph
    weights = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name.endswith(".weight")]
    largest = max(int(np.abs(weight.astype(int)).max()) for weight in weights if weight.dtype == np.int8)
    assert 2 * (ZERO_POINT + ACTIVATION_LIMIT) * largest <= np.iinfo(np.int16).max


def test_the_arrays_answer_as_the_linear_pipeline():
    from trainer.linear import candidate_of as arrays_of
    from trainer.linear import fit

    odd = [Example(text, 0) for text in ("", "!?", "caf\u00e9 d'or", "\u65e5\u672c", "GOOD 2 see")]
    pipeline, _ = fit(Splits(made_examples(64, 1), made_examples(32, 3), []), LINEAR)
    candidate = arrays_of(pipeline, made_examples(64, 2) + odd, LINEAR)
    assert candidate.metrics["agreement_native"] == 1.0
    assert candidate.metrics["probability_difference_native"] < 1e-6

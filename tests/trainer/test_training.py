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


def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(model, bert, tokenizer, tmp_path):
    import torch

    from trainer.convert import classifier_from
    from trainer.finetune import finetune
    from trainer.resuming import Kept

    kept = Kept(tmp_path / "resume.safetensors", "this training")
    splits = Splits(made_examples(64, 1), made_examples(32, 2), [])

    def until_interrupted(progress):
        kept.write(progress)
        if len(progress.reports) == 5:
            raise KeyboardInterrupt

    torch.manual_seed(PARAMS.seed)
    first = classifier_from(*checkpoint(bert), LABELS)
    with pytest.raises(KeyboardInterrupt):
        finetune(first, tokenizer, splits, PARAMS, lambda _: None, keep=until_interrupted)
    reports = []
    resumed = classifier_from(*checkpoint(bert), LABELS)
    finetune(resumed, tokenizer, splits, PARAMS, reports.append, resumed=kept.read())

    assert [report.epoch for report in reports] == list(range(6, 13))
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state_dict().items())
    assert Kept(tmp_path / "resume.safetensors", "another training").read() is None
    (tmp_path / "resume.safetensors").write_bytes(b"cut off")
    assert kept.read() is None


def test_training_stops_where_validation_no_longer_gains(bert, tokenizer):
    import torch

    from trainer.convert import classifier_from
    from trainer.finetune import finetune

    torch.manual_seed(PARAMS.seed)
    model = classifier_from(*checkpoint(bert), LABELS)
    chance = [Example(text, label ^ (position % 2)) for position, (text, label) in enumerate(made_examples(64, 5))]
    params = PARAMS.model_copy(update={"patience": 2, "epochs": 40})
    reports = finetune(model, tokenizer, Splits(chance, made_examples(32, 2), []), params, lambda _: None)
    lowest = min(reports, key=lambda report: report.valid_loss).epoch
    assert len(reports) == lowest + 2 < 40


def test_rare_labels_weigh_more_and_all_texts_one_on_average():
    from trainer.finetune import class_weights

    balanced = PARAMS.model_copy(update={"class_weights": "balanced"})
    assert class_weights([0, 1], PARAMS) is None
    weights = class_weights([0, 0, 0, 1], balanced)
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])
    assert weights[[0, 0, 0, 1]].mean() == pytest.approx(1.0)


def test_a_distilbert_checkpoint_is_a_base_and_its_own_head_is_not_kept(model, tokenizer, tmp_path):
    import torch

    from trainer.checkpoint import checkpoint as base
    from trainer.checkpoint import classifier

    model.save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = classifier(base(str(tmp_path), {}, tmp_path), ("a", "b", "c"))
    assert found.config.num_labels == 3
    assert all(
        torch.equal(a, b) for a, b in zip(found.distilbert.parameters(), model.distilbert.parameters(), strict=True)
    )


def test_a_base_that_is_none_is_said_in_one_line(tmp_path):
    from trainer.checkpoint import Checkpoint, checkpoint, classifier
    from trainer.convert import ConversionError
    from trainer.data import DataError

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"lacks model\.safetensors; it needs config\.json, model\.safetensors, tokenizer\.json"
    ):
        checkpoint(str(tmp_path), {}, tmp_path)
    with pytest.raises(ConversionError, match=r"model_type is 'gpt2'; only distilbert and bert"):
        classifier(Checkpoint(b'{"model_type": "gpt2"}', b"", b""), LABELS)
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read"):
        classifier(Checkpoint(b'{"model_type": "distilbert"}', b"cut off", b""), LABELS)


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(tmp_path, monkeypatch):
    import huggingface_hub

    from trainer.data import DataError
    from trainer.hub import snapshot

    def unreachable(*_args, **_kwargs):
        raise OSError("no route to host\nand a long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(DataError, match=r"^dataset a/b cannot be had from the hub: no route to host; check") as refused:
        snapshot("a/b", tmp_path, kind="dataset", revision=None, patterns=["*"])
    assert "\n" not in str(refused.value)


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
    assert [value.name for value in graph.output] == ["logits", "pooled"]


def test_the_lean_graph_has_the_products_of_the_quantised_one_and_its_answers(model, tokenizer):
    from onnx import load_from_string

    from trainer.export import to_onnx
    from trainer.lean import lean
    from trainer.onnx_model import TransformerGraph, softmax
    from trainer.quantise import quantise

    whole = quantise(to_onnx(model))
    written = lean(whole, model.config.n_heads)
    before, after = (load_from_string(content).graph for content in (whole, written))
    products = [sum(node.op_type == "MatMulIntegerToFloat" for node in graph.node) for graph in (before, after)]
    assert products == [12, 12]
    assert len(after.node) < 0.5 * len(before.node)
    assert [*after.input, *after.output] == [*before.input, *before.output]
    old, new = (TransformerGraph(content, tokenizer.to_str().encode(), 16) for content in (whole, written))
    texts = ["", "good film", *(text for text, _ in made_examples(30, 4))]
    assert new.probabilities(texts) == pytest.approx(old.probabilities(texts), abs=0.02)
    assert new.vectors(texts) == pytest.approx(old.vectors(texts), abs=0.05)
    for row, vector in zip(new.encode(texts), new.vectors(texts), strict=True):
        assert (new._run("pooled", [row, row[:2]], 3)[0] == vector).all()
        alone, together = softmax(new.logits([row])), softmax(new.logits([row, row[:2]], padding=9))
        assert together[0] == pytest.approx(alone[0], abs=1e-6)


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

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from broker.errors import ModelRefusedError
from broker.manifest import Golden, Pointer, live_version
from tests.worker import graphs
from tests.worker.builders import Toy, write_model
from worker.loading import Loading
from worker.models import LOADERS, load_version
from worker.onnx import DEEPEST, MOST_NODES, open_session
from worker.settings import WorkerSettings
from worker.speed import warm_up

SHIPPED = Path(__file__).parents[2] / "models"


def transformer(store, **options):
    graph = graphs.transformer(**options)
    return write_model(store, {"model.onnx": graph, "tokenizer.json": graphs.words_tokenizer()}, kind="transformer")


def linear(store, **options):
    return write_model(store, {"model.onnx": graphs.linear(**options)}, kind="linear")


def test_a_transformer_turns_token_ids_into_probabilities(tmp_path):
    loaded = load_version(transformer(tmp_path))
    (scores,) = loaded.model.predict(["good film"])
    # [CLS] good film [SEP] are 2, 4, 6 and 3: the logits are 1.5 and 1.
    assert scores.probabilities == pytest.approx((np.exp(1.5) / (np.exp(1.5) + np.e), np.e / (np.exp(1.5) + np.e)))
    assert (scores.tokens, scores.truncated) == (4, False)


def test_a_transformer_counts_the_tokens_of_the_whole_text_and_reads_the_first(tmp_path):
    model = load_version(transformer(tmp_path)).model  # reads 8
    exact, cut, same = model.predict(["good " * 6, "good " * 30, "good " * 7])
    assert (exact.tokens, exact.truncated) == (8, False)
    assert (cut.tokens, cut.truncated) == (32, True)
    assert cut.probabilities == exact.probabilities == same.probabilities


def test_a_text_without_words_is_answered(tmp_path):
    for loaded in (load_version(transformer(tmp_path)), load_version(linear(tmp_path / "other"))):
        (scores,) = loaded.model.predict([""])
        assert sum(scores.probabilities) == pytest.approx(1)


def test_company_does_not_change_a_transformers_scores(tmp_path):
    model = load_version(transformer(tmp_path)).model
    draw = random.Random(7)
    texts = [" ".join(draw.choices(["good", "bad", "film", "else"], k=draw.randint(1, 12))) for _ in range(100)]
    assert model.predict(texts) == [model.predict([text])[0] for text in texts]


def test_a_linear_model_reads_strings_and_counts_its_words(tmp_path):
    good, bad = load_version(linear(tmp_path)).model.predict(["good", "not so good, is it"])
    assert (good.probabilities, good.tokens) == ((0.0, 1.0), 1)
    assert (bad.probabilities, bad.tokens) == ((1.0, 0.0), 5)


def test_a_linear_model_reads_no_more_words_than_its_maximum(tmp_path):
    (scores,) = load_version(linear(tmp_path)).model.predict(["one " * 20])
    assert (scores.tokens, scores.truncated) == (20, True)


@pytest.mark.parametrize("make", [transformer, linear])
def test_a_model_that_answers_no_number_is_refused(tmp_path, make):
    with pytest.raises(ModelRefusedError, match="not a number"):
        load_version(make(tmp_path, last="Sqrt"))


def test_a_model_that_keeps_data_in_another_file_is_refused(tmp_path):
    with pytest.raises(ModelRefusedError, match="one file"):
        load_version(transformer(tmp_path, external=True))


@pytest.mark.parametrize("hide", ["attribute", "subgraph", "function", "sparse"])
def test_data_outside_is_found_wherever_it_hides(hide):
    tensor = graphs.tensor("t", graphs.FLOAT, [1], external=True)
    node = {
        "attribute": lambda: graphs.message((4, "Constant"), (5, graphs.message((1, "value"), (5, tensor)))),
        "subgraph": lambda: graphs.message((5, graphs.message((6, graphs.message((5, tensor)))))),
        "function": lambda: graphs.message((5, graphs.message((10, tensor)))),
        "sparse": lambda: graphs.message((5, graphs.message((22, graphs.message((1, tensor)))))),
    }[hide]()
    content = (
        graphs.message((25, graphs.message((7, node)))) if hide == "function" else graphs.model([node], [], {}, {})
    )
    with pytest.raises(ModelRefusedError, match="one file"):
        open_session(content)


@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        ("com.example", "Identity"),
        ("com.microsoft", "LoadFile"),
        ("com.microsoft.nchwc", "Conv"),
        ("ai.onnx.contrib", "PyOp"),
        ("ai.onnx.training", "Adam"),
        ("AI.ONNX.ML", "Normalizer"),
    ],
)
@pytest.mark.parametrize("place", ["graph", "subgraph", "function"])
def test_an_operator_that_may_do_more_than_arithmetic_is_refused(domain, operator, place):
    node = graphs.node(operator, ["a"], ["b"], domain=domain)
    content = {
        "graph": lambda: graphs.model([node], [], {}, {}),
        "subgraph": lambda: graphs.model(
            [graphs.message((4, "If"), (5, graphs.message((1, "then_branch"), (6, graphs.message((1, node))))))],
            [],
            {},
            {},
        ),
        "function": lambda: graphs.message((25, graphs.message((7, node)))),
    }[place]()
    with pytest.raises(ModelRefusedError, match=rf"uses the operator {domain}\.{operator}"):
        open_session(content)


def test_a_graph_with_too_many_nodes_is_refused():
    content = graphs.message((7, graphs.message((1, graphs.node("Abs", ["a"], ["a"]))) * (MOST_NODES + 1)))
    with pytest.raises(ModelRefusedError, match=f"more than {MOST_NODES} nodes"):
        open_session(content)


def test_graphs_in_graphs_without_end_are_refused():
    content = graphs.message((1, graphs.node("Abs", ["a"], ["b"])))
    for _ in range(1000):
        content = graphs.message((1, graphs.message((4, "If"), (5, graphs.message((6, content))))))
    with pytest.raises(ModelRefusedError, match=f"more than {DEEPEST} messages"):
        open_session(graphs.message((7, content)))


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr("worker.onnx.MOST_BYTES", 100)
    with pytest.raises(ModelRefusedError, match="at most 100 are read"):
        open_session(graphs.linear())


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_refused_in_one_line_and_never_kill_the_reader(tmp_path, seed):
    draw, whole = random.Random(seed), graphs.transformer()
    refused = 0
    for number in range(60):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        damaged = {
            "model.onnx": bytes(content[: draw.randint(1, len(content))]),
            "tokenizer.json": graphs.words_tokenizer(),
        }
        folder = write_model(tmp_path / str(number), damaged, kind="transformer")
        try:
            load_version(folder)
        except ModelRefusedError as error:
            refused += "\n" not in str(error)
    assert refused > 30


@pytest.mark.parametrize("content", [b"", b"\x00" * 9, b"\xff" * 20, b"not a model at all", graphs.linear()[:-30]])
def test_bytes_that_are_no_model_are_refused(tmp_path, content):
    with pytest.raises(ModelRefusedError):
        load_version(write_model(tmp_path, {"model.onnx": content}, kind="linear"))


def test_a_model_with_other_inputs_is_refused(tmp_path):
    with pytest.raises(ModelRefusedError, match="reads attention_mask, input_ids, not text"):
        load_version(write_model(tmp_path, {"model.onnx": graphs.transformer()}, kind="linear"))


def test_a_model_that_scores_another_number_of_labels_is_refused(tmp_path):
    with pytest.raises(ModelRefusedError, match=r"scores 2 labels, model.json names 3"):
        load_version(write_model(tmp_path, {"model.onnx": graphs.linear()}, kind="linear", labels=("a", "b", "c")))


@pytest.mark.parametrize("damage", ["changed", "missing", "unlisted"])
def test_a_damaged_folder_is_refused(tmp_path, damage):
    folder = linear(tmp_path)
    match damage:
        case "changed":
            (folder / "model.onnx").write_bytes(graphs.linear() + b"\x00")
        case "missing":
            (folder / "model.onnx").unlink()
        case "unlisted":
            (folder / "weights.bin").write_bytes(b"x")
    with pytest.raises(ModelRefusedError, match=str(folder)):
        load_version(folder)


def golden(*probabilities, text="a good film"):
    texts = ({"text": text, "probabilities": probabilities},)
    return {"golden.json": Golden(texts=texts).model_dump_json().encode()}


def test_a_version_that_still_answers_its_golden_texts_is_loaded(tmp_path):
    assert load_version(write_model(tmp_path, golden(0.13, 0.87))).manifest.version == "1"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (golden(0.2, 0.8), r"text 0 is positive \(0.900\), and was positive \(0.800\)"),
        (golden(0.9, 0.1), r"text 0 is positive \(0.900\), and was negative \(0.900\)"),
        (golden(0.1, 0.1, 0.8), "scores of other labels"),
        ({"golden.json": b"{}"}, "texts: Field required"),
    ],
)
def test_a_version_that_answers_otherwise_than_when_it_was_made_is_refused(tmp_path, files, message):
    with pytest.raises(ModelRefusedError, match=message) as told:
        load_version(write_model(tmp_path, files))
    assert "good film" not in str(told.value)


def test_an_unknown_kind_is_refused_by_name(tmp_path):
    with pytest.raises(ModelRefusedError, match="kind 'pickle' is none of"):
        load_version(write_model(tmp_path, kind="pickle"))


def first(store, *names):
    """What a worker serves from the start."""
    return [found for found, _ in Loading(WorkerSettings(models=store, worker_models=names)).first()]


class Brittle(Toy):
    def predict(self, texts):
        if any(len(text) > 1000 for text in texts):
            raise RuntimeError("too long for me")
        return super().predict(texts)


LOADERS["brittle"] = Brittle


def test_an_empty_store_is_refused(tmp_path):
    with pytest.raises(ModelRefusedError, match=r"no model with a live.json"):
        first(tmp_path)


def test_only_the_named_models_are_loaded(tmp_path):
    write_model(tmp_path)
    write_model(tmp_path, name="other")
    assert [each.name for each in first(tmp_path)] == ["other", "toy"]
    assert [each.name for each in first(tmp_path, "other")] == ["other"]


def test_a_worker_begins_with_the_version_before_where_the_live_one_is_refused(tmp_path, caplog):
    write_model(tmp_path)
    damaged = write_model(tmp_path, {"model.onnx": b"x"}, version="2", kind="linear")
    (tmp_path / "toy" / "live.json").write_text(Pointer(version="2", generation=2, previous="1").model_dump_json())
    (found,) = first(tmp_path)
    assert (found.live, list(found.versions)) == ("1", ["1"])
    assert str(damaged) in caplog.text


@pytest.mark.parametrize("name", ["a-damaged", "z-damaged"])
def test_a_damaged_model_stops_no_other_of_a_worker_that_serves_all(tmp_path, caplog, name):
    write_model(tmp_path)
    (write_model(tmp_path, name=name) / "model.json").write_text("{}")
    assert [served.name for served, _ in Loading(WorkerSettings(models=tmp_path)).first()] == ["toy"]
    assert "a model is refused" in caplog.text
    with pytest.raises(ModelRefusedError, match=name):
        Loading(WorkerSettings(models=tmp_path, worker_models=("toy", name))).first()


def test_a_vocabulary_that_is_no_text_is_refused(tmp_path):
    folder = write_model(tmp_path, {"vocabulary.txt": b"\xff"})
    with pytest.raises(ModelRefusedError, match="cannot be used"):
        load_version(folder)


def test_a_version_that_fails_on_long_texts_is_refused(tmp_path):
    write_model(tmp_path, kind="brittle")
    with pytest.raises(ModelRefusedError, match="toy 1: too long for me"):
        first(tmp_path)


def test_a_third_kind_is_one_class_and_one_line(tmp_path):
    import examples.third_model  # noqa: F401 PLC0415

    words = b"good positive\nbad negative\n"
    loaded = load_version(write_model(tmp_path, {"words.txt": words}, kind="word-counter"))
    (scores,) = loaded.model.predict(["a good good film with a bad end"])
    assert scores.probabilities == (0.4, 0.6)
    assert {"transformer", "linear", "word-counter"} <= LOADERS.keys()


@pytest.fixture(params=["sentiment", "sentiment-linear"])
def shipped(request):
    if not (SHIPPED / request.param / "live.json").exists():
        pytest.skip("not trained yet")
    return load_version(SHIPPED / request.param / live_version(SHIPPED, request.param))


def test_company_does_not_change_what_a_shipped_model_says(shipped):
    draw = random.Random(20140601)
    words = sorted(shipped.vocabulary)
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 60))) for _ in range(48)]
    alone = [shipped.model.predict([text])[0].probabilities for text in texts]
    draw.shuffle(order := list(range(48)))
    together = shipped.model.predict([texts[at] for at in order])
    for at, scores in zip(order, together, strict=True):
        assert scores.probabilities == pytest.approx(alone[at], abs=1e-6)


def test_a_shipped_model_knows_praise_from_blame(shipped):
    labels = shipped.manifest.labels
    praise, blame = shipped.model.predict(["a wonderful, moving film", "a boring, terrible mess"])
    assert labels[int(np.argmax(praise.probabilities))] == "positive"
    assert labels[int(np.argmax(blame.probabilities))] == "negative"


def test_a_shipped_model_is_warmed_up_by_usual_and_by_the_longest_texts(shipped):
    warmth = warm_up(shipped, batch=4)
    assert warmth.texts_per_second > 10
    assert warmth.slowest_batch_s < 5


def test_a_session_keeps_no_second_copy_of_its_file():
    content = graphs.transformer()
    before = sys.getrefcount(content)
    session = open_session(content)
    assert sys.getrefcount(content) == before
    assert session.get_inputs()

"""A version's own projection of its pooled output goes into every result, the same whoever shares the batch."""

import io
from pathlib import Path

import numpy as np
import pytest

from broker.errors import ModelRefusedError
from broker.events import Result
from broker.manifest import live_version, read_reference
from tests.worker import graphs
from tests.worker.builders import arrival, write_model
from worker.handler import Handler
from worker.models import Served, load_version

MODELS = Path(__file__).parents[2] / "models"


def projection(*rows):
    file = io.BytesIO()
    np.save(file, np.array(rows, np.float32), allow_pickle=False)
    return file.getvalue()


def folder(store, content, **options):
    files = {"model.onnx": graphs.transformer(**options), "tokenizer.json": graphs.words_tokenizer()}
    return write_model(store, files | {"projection.npy": content}, kind="transformer")


def test_a_result_carries_the_coordinates(tmp_path):
    loaded = load_version(folder(tmp_path, projection([2.0, 0.1], [1.0, 0.0]), pooled=True))
    (scores,) = loaded.model.predict(["good film"])
    assert scores.embedding == (31.0, 1.5)  # the ids 2, 4, 6, 3 add up to 15
    handler = Handler(Served("toy", "1", {"1": loaded}), "w", lambda: 0, lambda: 0.0)
    (settlement,) = handler.handle([arrival("good film")]).settlements
    fields = {name.encode(): value.encode() for name, value in settlement.result.to_fields().items()}
    assert Result.from_fields(fields).embedding == (31.0, 1.5)


def test_a_folder_without_a_projection_gives_no_coordinates(tmp_path):
    files = {"model.onnx": graphs.transformer(pooled=True), "tokenizer.json": graphs.words_tokenizer()}
    loaded = load_version(write_model(tmp_path, files, kind="transformer"))
    assert loaded.model.predict(["good"])[0].embedding is None


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        (projection([1.0], [0.0]), {}, "no output pooled"),
        (projection([1.0], [1.0], [0.0]), {"pooled": True}, r"pools to \(1, 1\), the projection is of \(1, 2\)"),
        (projection([1.0] * 17, [0.0] * 17), {"pooled": True}, "1 to 16"),
        (projection([np.inf], [0.0]), {"pooled": True}, "not a number"),
        (b"\x93NUMPY", {"pooled": True}, "not an array of numbers"),
    ],
)
def test_a_projection_that_does_not_fit_is_refused(tmp_path, content, options, reason):
    with pytest.raises(ModelRefusedError, match=reason):
        load_version(folder(tmp_path, content, **options))


@pytest.fixture(scope="module")
def shipped():
    return load_version(MODELS / "sentiment" / live_version(MODELS, "sentiment"))


def test_company_and_padding_do_not_change_a_shipped_models_coordinates(shipped):
    texts = ["a joy", "dull " * 40, "", "not bad at all, " * 5, "\u65e5\u672c", "a moving, funny, honest film"] * 4
    alone = [shipped.model.predict([text])[0].embedding for text in texts]
    assert [scores.embedding for scores in shipped.model.predict(texts)] == alone
    assert [scores.embedding for scores in shipped.model.padded(texts[:6], 11)] == alone[:6]
    assert len(alone[0]) == 8


def test_the_reference_profiles_every_coordinate():
    reference = read_reference(MODELS / "sentiment" / live_version(MODELS, "sentiment"))
    assert {f"embedding_{number}" for number in range(8)} <= reference.features.keys()
    assert all(len(reference.features[f"embedding_{number}"].edges) >= 15 for number in range(8))

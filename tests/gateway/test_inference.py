"""Triton's own client, unchanged, against the Open Inference Protocol routes."""

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.inference_protocol import InferRequest, write_response
from gateway.problems import Problem
from tests.gateway.stack import RunningGateway, tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the client's own imports warn
    from tritonclient import http as triton
    from tritonclient.utils import InferenceServerException

URL = "/v2/models/sentiment/infer"


async def with_triton(gateway: RunningGateway, use: Callable[[Any], Any]) -> Any:
    """Run *use* with a client, in a thread: the client blocks."""

    def run() -> Any:
        client = triton.InferenceServerClient(f"127.0.0.1:{gateway.port}")
        try:
            return use(client)
        finally:
            client.close()

    return await asyncio.to_thread(run)


def infer(client: Any, texts: list[str], *, binary: bool, **options: Any) -> Any:
    text = triton.InferInput("text", [len(texts)], "BYTES")
    text.set_data_from_numpy(np.array([t.encode() for t in texts], dtype=np.object_), binary_data=binary)
    return client.infer("sentiment", [text], **options)


@pytest.mark.parametrize("binary", [True, False])
async def test_tritons_client_gets_its_tensors(gateway, binary):
    outputs = None if binary else [triton.InferRequestedOutput(n, binary_data=False) for n in ("label", "confidence")]
    texts = ["good", "naïve ☃"]
    result = await with_triton(gateway, lambda c: infer(c, texts, binary=binary, request_id="7", outputs=outputs))
    labels = result.as_numpy("label")
    assert [label.decode() if binary else label for label in labels.tolist()] in (
        ["positive", "positive"],
        [b"positive", b"positive"],
    )
    assert result.as_numpy("confidence").tolist() == [0.75, 0.75]
    assert result.get_response()["id"] == "7"
    assert result.get_response()["model_version"] == "1"
    if binary:
        assert result.as_numpy("probabilities").tolist() == [[0.25, 0.75], [0.25, 0.75]]


async def test_tritons_client_sees_health_and_metadata(gateway):
    def ask(client: Any) -> tuple[Any, ...]:
        return (
            client.is_server_live(),
            client.is_server_ready(),
            client.is_model_ready("sentiment"),
            client.is_model_ready("sentiment", "1"),
            client.is_model_ready("sentiment", "2"),
            client.get_server_metadata()["name"],
            client.get_model_metadata("sentiment")["versions"],
            client.get_model_metadata("sentiment", "1")["outputs"][2],
        )

    probabilities = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
    assert await with_triton(gateway, ask) == (True, True, True, True, False, "observa", ["1"], probabilities)


async def test_tritons_client_understands_what_went_wrong(gateway, worker):
    worker.errors["bad"] = "inference_failed"
    with pytest.raises(InferenceServerException, match="The model failed on this text") as error:
        await with_triton(gateway, lambda client: infer(client, ["good", "bad"], binary=True))
    assert error.value.status() == "502"


async def test_a_named_version_is_pinned(client, worker):
    answer = await client.post("/v2/models/sentiment/versions/1/infer", json=tensor("a"))
    assert answer.json()["outputs"][0] == {
        "name": "label",
        "datatype": "BYTES",
        "shape": [1],
        "data": ["positive"],
    }
    assert worker.seen[0].pinned


@pytest.mark.parametrize("shape", [[2], [2, 1], [1, 2]])
@pytest.mark.parametrize("data", [["a", "b"], [["a", "b"]], [["a"], ["b"]]])
async def test_the_shape_of_a_column_or_row_does_not_matter(client, shape, data):
    answer = await client.post(URL, json=tensor(shape=shape, data=data))
    assert answer.status_code == 200


def answer(version: str, **probabilities: float) -> bytes:
    label = max(probabilities, key=lambda name: probabilities[name])
    confidence = probabilities[label]
    return orjson.dumps({"version": version, "label": label, "confidence": confidence, "probabilities": probabilities})


@pytest.mark.parametrize(
    "second",
    [
        answer("2", negative=0.25, positive=0.75),  # another version
        answer("1", positive=0.75, negative=0.25),  # the same labels in another order
        answer("1", negative=0.25, good=0.75),
        answer("1", negative=0.25, neutral=0.25, positive=0.5),
    ],
)
@pytest.mark.parametrize("output", ["label", "probabilities"])
def test_answers_of_two_versions_or_with_other_labels_make_no_tensor(second, output):
    asked = InferRequest(None, ["a", "b"], {output: False})
    first = answer("1", negative=0.25, positive=0.75)
    assert write_response(asked, "sentiment", [first, first])
    with pytest.raises(Problem) as refused:
        write_response(asked, "sentiment", [first, second])
    assert (refused.value.code, refused.value.status) == ("version_changed", 503)
    assert "Retry-After" in refused.value.response().headers

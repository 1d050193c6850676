"""Triton's own client, unchanged, against the Open Inference Protocol routes."""

import asyncio
import base64
import json
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gateway.inference_protocol import InferRequest, Output, write_response
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


async def test_tritons_client_sees_models_their_configuration_and_what_was_answered(gateway, worker):
    worker.errors["bad"] = "inference_failed"

    def ask(client: Any) -> tuple[Any, ...]:
        infer(client, ["good", "fine"], binary=True)
        with pytest.raises(InferenceServerException):
            infer(client, ["bad"], binary=True)
        everything = client.get_inference_statistics()
        assert everything == client.get_inference_statistics("sentiment")
        assert everything == client.get_inference_statistics("sentiment", "1")
        return everything["model_stats"], client.get_model_repository_index(), client.get_model_config("sentiment")

    (statistics,), index, config = await with_triton(gateway, ask)
    assert (statistics["name"], statistics["version"]) == ("sentiment", "1")
    assert (statistics["inference_count"], statistics["execution_count"]) == (2, 1)
    counts = {name: found["count"] for name, found in statistics["inference_stats"].items()}
    assert counts == {"success": 1, "fail": 1, "queue": 2, "compute_infer": 2}
    assert statistics["inference_stats"]["compute_infer"]["ns"] == 2_000_000
    assert index == [{"name": "sentiment", "version": "1", "state": "READY", "reason": ""}]
    assert config["input"] == [{"name": "text", "data_type": "TYPE_STRING", "dims": [1]}]
    assert config["output"][2] == {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [2]}


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.load_model("sentiment"),
        lambda client: client.unload_model("sentiment"),
        lambda client: client.get_trace_settings(),
        lambda client: client.get_log_settings(),
        lambda client: client.update_log_settings({}),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.get_cuda_shared_memory_status(),
    ],
)
async def test_what_tritons_client_can_ask_and_this_is_not_the_place_for_is_said_to_be_missing(gateway, call):
    with pytest.raises(InferenceServerException, match="There is nothing here") as refused:
        await with_triton(gateway, call)
    assert refused.value.status() == "404"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
async def test_tritons_client_may_compress(gateway, coding, binary):
    options = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
    result = await with_triton(gateway, lambda client: infer(client, ["good"] * 64, binary=binary, **options))
    assert result.as_numpy("confidence").tolist() == [0.75] * 64


def squeezed(body: bytes, wbits: int) -> bytes:
    squeezer = zlib.compressobj(wbits=wbits)
    return squeezer.compress(body) + squeezer.flush()


GZIP, ZLIB = 31, 15
WHOLE = squeezed(json.dumps(tensor("a")).encode(), GZIP)


@pytest.mark.parametrize(
    ("coding", "body", "status", "code"),
    [
        ("gzip", WHOLE[:-1], 400, "invalid_compression"),
        ("gzip", WHOLE + b"x", 400, "invalid_compression"),
        ("gzip", b"no gzip", 400, "invalid_compression"),
        ("gzip", squeezed(b"", GZIP), 400, "empty_body"),
        ("deflate", WHOLE, 400, "invalid_compression"),
        ("gzip", squeezed(b" " * 100_000_000, GZIP), 413, "body_too_large"),
        ("deflate", squeezed(b" " * (160 * 1024 + 1), ZLIB), 413, "body_too_large"),
        ("gzip", WHOLE + squeezed(b" " * 100_000_000, GZIP), 413, "body_too_large"),
        ("gzip", squeezed(b"", GZIP) * 64 + WHOLE, 400, "invalid_compression"),
        ("deflate", squeezed(b" ", ZLIB) * 2, 400, "invalid_compression"),
        ("br", b"x", 415, "unsupported_encoding"),
        ("gzip, gzip", WHOLE, 415, "unsupported_encoding"),
    ],
)
async def test_a_compressed_body_is_bounded_and_whole(client, coding, body, status, code):
    headers = {"content-encoding": coding, "content-type": "application/json"}
    answer = await client.post(URL, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_gzip_body_may_have_several_members(client):
    body = squeezed(b" ", GZIP) * 62 + WHOLE + squeezed(b"\n", GZIP)
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    assert (await client.post(URL, content=body, headers=headers)).status_code == 200


async def test_the_most_probable_classes_are_given_as_tritons_client_reads_them(gateway):
    def ask(client: Any, count: int, name: str = "probabilities") -> Any:
        outputs = [triton.InferRequestedOutput(name, binary_data=False, class_count=count)]
        return infer(client, ["good", "fine"], binary=False, outputs=outputs).as_numpy(name).tolist()

    assert await with_triton(gateway, lambda client: ask(client, 1)) == [["0.750000:1:positive"]] * 2
    assert await with_triton(gateway, lambda client: ask(client, 9)) == [
        ["0.750000:1:positive", "0.250000:0:negative"]
    ] * 2  # fmt: skip
    with pytest.raises(InferenceServerException) as refused:
        await with_triton(gateway, lambda client: ask(client, 1, "label"))
    assert refused.value.status() == "422"


async def test_what_other_clients_send_beside_is_skipped(client):
    # The fields of KServe's client, and the nulls of MLServer's.
    body = tensor("good", parameters=None) | {
        "model_name": "sentiment",
        "model_version": None,
        "id": None,
        "parameters": None,
        "outputs": None,
        "raw_input_contents": [],
    }
    answer = await client.post(URL, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == ["positive"]


@pytest.mark.parametrize("place", ["inputs", "request"])
async def test_base64_is_decoded_where_it_is_said(client, worker, place):
    encoded = base64.b64encode("naïve ☃".encode()).decode()
    said = {"content_type": "base64"}
    body = tensor(encoded, parameters=said) if place == "inputs" else tensor(encoded) | {"parameters": said}
    assert (await client.post(URL, json=body)).status_code == 200
    assert worker.seen[-1].text == "naïve ☃"


async def test_a_parameter_that_is_null_says_nothing(client, worker):
    body = tensor(base64.b64encode(b"good").decode(), parameters={"content_type": None, "binary_data_size": None})
    outputs = [{"name": "probabilities", "parameters": {"classification": None, "binary_data": None}}]
    said = {"parameters": {"content_type": "base64", "binary_data_output": True}, "outputs": outputs}
    answer = await client.post(URL, json=body | said)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert worker.seen[-1].text == "good"


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"parameters": {"content_type": "base64"}, "data": ["no base64!"]}, "/inputs/0/data", "invalid_value"),
        ({"parameters": {"content_type": "np"}}, "/inputs/0/parameters/content_type", "invalid_value"),
        ({"parameters": {"shared_memory_region": "a"}}, "/inputs/0/parameters", "invalid_value"),
        ({"data": [" "]}, "/inputs/0/data/0", "blank_text"),
        ({"data": ["a" * 10_001]}, "/inputs/0/data/0", "too_long"),
        ({"data": "good"}, "/inputs/0/data", "wrong_type"),
        ({"shape": []}, "/inputs/0/shape", "too_short"),
        ({"shape": [1.5]}, "/inputs/0/shape/0", "wrong_type"),
        ({"datatype": None}, "/inputs/0/datatype", "wrong_type"),
        ({"parameters": []}, "/inputs/0/parameters", "wrong_type"),
    ],
)
async def test_a_fault_is_shown_where_the_caller_wrote_it(client, changes, pointer, code):
    answer = await client.post(URL, json=tensor("good") | {"inputs": [tensor("good")["inputs"][0] | changes]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert answer.json()["code"] == code


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


def answer(version: str, **probabilities: float) -> dict[str, Any]:
    label = max(probabilities, key=lambda name: probabilities[name])
    confidence = probabilities[label]
    return {"version": version, "label": label, "confidence": confidence, "probabilities": probabilities}


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
    asked = InferRequest(None, ("a", "b"), {output: Output()})
    first = answer("1", negative=0.25, positive=0.75)
    assert write_response(asked, "sentiment", [first, first])
    with pytest.raises(Problem) as refused:
        write_response(asked, "sentiment", [first, second])
    assert (refused.value.code, refused.value.status) == ("version_changed", 503)
    assert "Retry-After" in refused.value.response().headers

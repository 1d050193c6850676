"""Inference requests whose tensor is not what it says."""

from typing import Any

import orjson
import pytest

from tests.gateway.stack import tensor

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "/v2/models/sentiment/infer"

BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no_inputs": ({}, 422, "missing_field"),
    "two_inputs": ({"inputs": tensor("a")["inputs"] * 2}, 422, "too_many_items"),
    "another_name": (tensor("c4n4ry", name="c4n4ry"), 422, "invalid_value"),
    "another_datatype": (tensor("c4n4ry", datatype="FP32"), 422, "invalid_value"),
    "a_number": (tensor(1), 422, "wrong_type"),
    "fewer_than_the_shape": (tensor("c4n4ry", shape=[2]), 400, "invalid_tensor"),
    "negative_shape": (tensor("c4n4ry", shape=[-1]), 422, "out_of_range"),
    "no_data": ({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES"}]}, 400, "invalid_tensor"),
    "65_texts": (tensor(*["c4n4ry"] * 65, shape=[1]), 400, "invalid_tensor"),
    "large_shape": (tensor(*["c4n4ry"] * 128, shape=[64, 2]), 422, "too_many_items"),
    "blank": (tensor(" "), 422, "blank_text"),
    "unknown_output": (tensor("c4n4ry") | {"outputs": [{"name": "c4n4ry"}]}, 422, "invalid_value"),
    "size_of_no_binary": (tensor("c4n4ry", parameters={"binary_data_size": 10}), 400, "invalid_tensor"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_tensor_that_is_not_texts_is_refused(lasting_gateway, name):
    body, status, code = BAD[name]
    answer = await lasting_gateway.client.post(URL, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "error" in answer.json()
    assert "c4n4ry" not in answer.text


BINARY = {
    "short_element": (b"\x05\0\0\0abc", 400, "invalid_tensor"),
    "short_length": (b"\x01\0\0", 400, "invalid_tensor"),
    "endless_length": (b"\xff\xff\xff\xffa", 400, "invalid_tensor"),
    "not_utf8": (b"\x01\0\0\0\xff", 400, "invalid_utf8"),
    "nul": (b"\x01\0\0\0\0", 422, "control_char"),
    "two_elements": (b"\x01\0\0\0a" * 2, 400, "invalid_tensor"),
}


@pytest.mark.parametrize("name", BINARY)
async def test_binary_data_that_is_not_texts_is_refused(lasting_gateway, name):
    binary, status, code = BINARY[name]
    head = b'{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":%d}}]}' % len(
        binary
    )
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    answer = await lasting_gateway.client.post(URL, content=head + binary, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_binary_data_that_no_tensor_names_is_refused(lasting_gateway):
    head = orjson.dumps(tensor("c4n4ry"))
    headers = {"inference-header-content-length": str(len(head))}
    answer = await lasting_gateway.client.post(URL, content=head + b"\x01\0\0\0a", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_tensor")


@pytest.mark.parametrize("length", ["x", "-1", "99999", "9" * 30])
async def test_a_header_length_that_cannot_be_is_refused(lasting_gateway, length):
    answer = await lasting_gateway.client.post(
        URL, json=tensor("a"), headers={"inference-header-content-length": length}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_tensor")

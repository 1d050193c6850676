"""Whatever a caller sends, it gets the problem that says what is wrong, and nothing of what it sent."""

import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "c4n4ry"
JSON = {"content-type": "application/json"}
ID = "sentiment.0.01890a5d-ac96-774b-bcce-b302099a8057"


def check(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem = answer.json()
    assert (answer.status_code, problem.get("code")) == (status, code)
    assert answer.headers["content-type"] == (
        "application/json" if answer.request.url.path.startswith("/v2/") else "application/problem+json"
    )
    assert problem["status"] == status
    assert problem["type"] == f"urn:problem:{code}"
    assert CANARY not in answer.text
    return dict(problem)


RAW = {
    "empty": (b"", 400, "empty_body"),
    "blank": (b" \n", 400, "empty_body"),
    "truncated": (b'{"text": "c4n4ry', 400, "invalid_json"),
    "trailing_comma": (b'{"text": "c4n4ry",}', 400, "invalid_json"),
    "trailing_data": (b'{"text": "c4n4ry"} {}', 400, "invalid_json"),
    "raw_control_character": (b'{"text": "c4n4ry\x01"}', 400, "invalid_json"),
    "single_quotes": (b"{'text': 'c4n4ry'}", 400, "invalid_json"),
    "not_utf8": (b'{"text": "c4n4ry\xff"}', 400, "invalid_utf8"),
    "overlong_utf8": (b'{"text": "c4n4ry\xc0\xaf"}', 400, "invalid_utf8"),
    "raw_surrogate": (b'{"text": "c4n4ry\xed\xa0\x80"}', 400, "invalid_utf8"),
    "byte_order_mark": (b'\xef\xbb\xbf{"text": "c4n4ry"}', 400, "invalid_utf8"),
    "utf16": ('{"text": "c4n4ry"}'.encode("utf-16"), 400, "invalid_utf8"),
    "utf16_without_mark": ('{"text": "c4n4ry"}'.encode("utf-16-le"), 400, "invalid_utf8"),
    "utf32_without_mark": ('{"text": "c4n4ry"}'.encode("utf-32-be"), 400, "invalid_utf8"),
    "lone_surrogate": (rb'{"text": "c4n4ry\ud800"}', 422, "invalid_unicode"),
    "lone_surrogate_in_a_key": (rb'{"text": "c4n4ry", "a\udc00": 1}', 422, "invalid_unicode"),
    "nul": (rb'{"text": "c4n4ry\u0000"}', 422, "control_char"),
    "nul_in_a_tag": (rb'{"text": "c4n4ry", "tags": {"a": "\u0000"}}', 422, "control_char"),
    "nan": (b'{"text": "c4n4ry", "threshold": NaN}', 400, "invalid_number"),
    "infinity": (b'{"text": "c4n4ry", "threshold": -Infinity}', 400, "invalid_number"),
    "infinite_exponent": (b'{"text": "c4n4ry", "threshold": 1e999}', 400, "invalid_number"),
    "long_integer": (b'{"text": "c4n4ry", "threshold": ' + b"9" * 5000 + b"}", 400, "invalid_number"),
    "nested_21_deep": (b'{"text": ' + b"[" * 20 + b"]" * 20 + b"}", 400, "too_deep"),
    "nested_30000_deep": (b"[" * 30_000 + b"]" * 30_000, 400, "too_deep"),
    "duplicate_key": (b'{"text": "c4n4ry", "text": "other"}', 400, "duplicate_key"),
    "duplicate_key_by_escape": (rb'{"text": "c4n4ry", "te\u0078t": "other"}', 400, "duplicate_key"),
    "duplicate_nested_key": (b'{"text": "c4n4ry", "tags": {"a": "1", "a": "2"}}', 400, "duplicate_key"),
    "list_at_top": (b'["c4n4ry"]', 422, "wrong_type"),
    "string_at_top": (b'"c4n4ry"', 422, "wrong_type"),
}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("path", ["/predict", "/feedback", "/v2/models/sentiment/infer"])
async def test_what_is_not_one_strict_json_object_is_refused(lasting_gateway, path, name):
    body, status, code = RAW[name]
    check(await lasting_gateway.client.post(path, content=body, headers=JSON), status, code)


FIELDS: dict[str, tuple[Any, str, str]] = {
    "no_text": ({}, "missing_field", ""),
    "text_and_texts": ({"text": CANARY, "texts": [CANARY]}, "missing_field", ""),
    "unknown_field": ({"text": CANARY, CANARY: 1}, "unknown_field", ""),
    "text_is_a_number": ({"text": 1}, "wrong_type", "/text"),
    "text_is_a_boolean": ({"text": True}, "wrong_type", "/text"),
    "text_is_a_list": ({"text": [CANARY]}, "wrong_type", "/text"),
    "text_in_texts_is_null": ({"texts": [CANARY, None]}, "wrong_type", "/texts/1"),
    "empty_text": ({"text": ""}, "blank_text", "/text"),
    "whitespace": ({"text": " \t\n\u2003"}, "blank_text", "/text"),
    "zero_width": ({"text": "\u200b\u2060\ufeff\u200d"}, "blank_text", "/text"),
    "one_blank_among_texts": ({"texts": [CANARY, " "]}, "blank_text", "/texts/1"),
    "long_text": ({"text": CANARY + "a" * 10_000}, "too_long", "/text"),
    "no_texts": ({"texts": []}, "too_short", "/texts"),
    "65_texts": ({"texts": [CANARY] * 65}, "too_many_items", "/texts"),
    "threshold_above_one": ({"text": CANARY, "threshold": 1.5}, "out_of_range", "/threshold"),
    "threshold_below_zero": ({"text": CANARY, "threshold": -0.1}, "out_of_range", "/threshold"),
    "threshold_is_text": ({"text": CANARY, "threshold": "0.5"}, "wrong_type", "/threshold"),
    "threshold_is_a_boolean": ({"text": CANARY, "threshold": True}, "wrong_type", "/threshold"),
    "truncate_is_a_number": ({"text": CANARY, "truncate": 1}, "wrong_type", "/truncate"),
    "five_tags": ({"text": CANARY, "tags": {str(n): "x" for n in range(5)}}, "too_many_items", "/tags"),
    "long_tag_value": ({"text": CANARY, "tags": {"a": "x" * 65}}, "too_long", "/tags"),
    "bad_tag_name": ({"text": "a", "tags": {f"{CANARY} {CANARY}": "x"}}, "invalid_value", "/tags"),
    "tag_is_a_number": ({"text": CANARY, "tags": {"a": 1}}, "wrong_type", "/tags"),
    "long_subject": ({"text": CANARY, "subject": CANARY * 30}, "too_long", "/subject"),
    "unknown_label": ({"text": CANARY, "true_label": CANARY}, "bad_label", "/true_label"),
    "unknown_label_by_alias": ({"text": CANARY, "true_sentiment": CANARY}, "bad_label", "/true_sentiment"),
    "label_by_both_names": (
        {"text": CANARY, "true_label": "positive", "true_sentiment": "positive"},
        "unknown_field",
        "/true_sentiment",
    ),
    "one_label_for_texts": ({"texts": [CANARY], "true_label": "positive"}, "wrong_type", "/true_label"),
    "labels_for_one_text": ({"text": CANARY, "true_sentiment": ["positive"]}, "wrong_type", "/true_sentiment"),
    "fewer_labels_than_texts": ({"texts": [CANARY, "b"], "true_label": ["positive"]}, "invalid_value", "/true_label"),
    "empty_label_among_several": ({"texts": [CANARY], "true_sentiment": [""]}, "too_short", "/true_sentiment/0"),
    "partial_of_one": ({"text": CANARY, "partial": True}, "invalid_value", "/partial"),
    "partial_with_fewer_labels": (
        {"texts": [CANARY, ""], "partial": True, "true_label": ["positive"]},
        "invalid_value",
        "/true_label",
    ),
    "partial_without_a_good_item": ({"texts": ["", 5], "partial": True}, "blank_text", "/texts/0"),
    "unknown_label_among_several": (
        {"texts": [CANARY, "b"], "true_label": [None, CANARY]},
        "bad_label",
        "/true_label/1",
    ),
}


@pytest.mark.parametrize("name", FIELDS)
async def test_a_field_that_does_not_fit_is_named_and_not_repeated(lasting_gateway, name):
    body, code, pointer = FIELDS[name]
    problem = check(await lasting_gateway.client.post("/predict", json=body), 422, code)
    assert problem["errors"][0]["pointer"].startswith(pointer)


@pytest.mark.parametrize(
    ("name", "pointer"), [("user_id", "/user_id"), ("Labels", "/Labels"), ("a film that I saw", ""), ("x" * 33, "")]
)
async def test_an_unknown_field_is_named_unless_its_name_may_be_a_text_and_the_known_ones_are_listed(
    lasting_gateway, name, pointer
):
    problem = check(await lasting_gateway.client.post("/predict", json={"text": "a", name: 1}), 422, "unknown_field")
    (error,) = problem["errors"]
    assert error["pointer"] == pointer
    assert {"text", "texts", "true_label", "partial"} <= set(error["known"])


HEADERS = {
    "gzip": ({**JSON, "content-encoding": "gzip"}, 415, "unsupported_encoding"),
    "brotli": ({**JSON, "content-encoding": "br"}, 415, "unsupported_encoding"),
    "no_media_type": ({}, 415, "unsupported_media_type"),
    "text": ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
    "form": ({"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    "multipart": ({"content-type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
    "two_media_types": ({"content-type": "application/json, text/plain"}, 415, "unsupported_media_type"),
    "another_charset": ({"content-type": "application/json; charset=latin-1"}, 415, "unsupported_media_type"),
    "deadline_garbage": ({**JSON, "x-deadline-ms": CANARY}, 400, "invalid_deadline"),
    "deadline_negative": ({**JSON, "x-deadline-ms": "-1"}, 400, "invalid_deadline"),
    "deadline_zero": ({**JSON, "x-deadline-ms": "0"}, 400, "invalid_deadline"),
    "deadline_fraction": ({**JSON, "x-deadline-ms": "1.5"}, 400, "invalid_deadline"),
    "key_empty": ({**JSON, "idempotency-key": ""}, 400, "invalid_idempotency_key"),
    "key_long": ({**JSON, "idempotency-key": CANARY * 50}, 400, "invalid_idempotency_key"),
    "another_host": ({**JSON, "host": f"{CANARY}.example"}, 421, "bad_host"),
    "many_headers": ({**JSON, **{f"x-{n}": CANARY for n in range(100)}}, 431, "headers_too_large"),
    "long_headers": ({**JSON, "x-long": CANARY * 3000}, 431, "headers_too_large"),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_that_makes_no_sense_is_refused(lasting_gateway, name):
    headers, status, code = HEADERS[name]
    body = json.dumps({"text": CANARY}).encode()
    check(await lasting_gateway.client.post("/predict", content=body, headers=headers), status, code)


PATHS = {
    "unknown_path": ("GET", f"/{CANARY}", 404, "not_found"),
    "unknown_method": ("DELETE", "/predict", 405, "method_not_allowed"),
    "get_instead_of_post": ("GET", "/predict", 405, "method_not_allowed"),
    "trailing_slash": ("POST", "/predict/", 404, "not_found"),
    "unknown_model": ("POST", f"/v1/models/{CANARY}/predict", 404, "model_not_found"),
    "encoded_traversal_in_model": ("POST", "/v1/models/..%2f..%2fetc/predict", 404, "not_found"),
    "dots_as_model": ("GET", "/v1/models/...", 404, "model_not_found"),
    "braces_in_model": ("GET", "/v1/models/%7Bsentiment%7D", 404, "model_not_found"),
    "capitals_in_model": ("GET", "/v1/models/Sentiment", 404, "model_not_found"),
    "newline_after_model": ("GET", "/v1/models/sentiment%0A", 404, "model_not_found"),
    "unloaded_version": ("POST", f"/v1/models/sentiment/versions/{CANARY}/predict", 404, "version_not_loaded"),
    "not_an_id": ("GET", f"/v1/predictions/{CANARY}", 404, "not_found"),
    "newline_after_id": ("GET", f"/v1/predictions/{ID}%0A", 404, "not_found"),
    "unknown_old_id": ("GET", f"/v1/predictions/{ID}", 410, "expired"),
}


@pytest.mark.parametrize("name", PATHS)
async def test_a_path_that_leads_nowhere_says_so(lasting_gateway, name):
    method, path, status, code = PATHS[name]
    answer = await lasting_gateway.client.request(method, path, json={"text": CANARY} if method == "POST" else None)
    check(answer, status, code)
    assert ("allow" in answer.headers) == (status == 405)


GOOD = {
    "combining_characters": "a" + "\u0301" * 5000,
    "right_to_left": "\u202e\u05de\u05d0\u05d5\u05d3\u202c",
    "joined_emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 1000,
    "escaped_nul_that_is_none": "a\\u0000",
    "a_pair_of_surrogates": "\U0001f600",
    "10000_characters": "a" * 10_000,
    "10000_emoji": "\U0001f600" * 10_000,
    "control_characters": "a\x01\x1f\x7f",
    "many_brackets_in_a_string": "[{" * 1000,
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("ascii_only", [True, False])
async def test_an_odd_text_is_still_a_text(lasting_gateway, name, ascii_only):
    body = json.dumps({"text": GOOD[name]}, ensure_ascii=ascii_only).encode()
    answer = await lasting_gateway.client.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-8; x=y",
        'application/json; x="; charset=latin-1"; charset="UTF-8"',
        "Application/JSON;charset=utf8",
        "application/json; charset=",
    ],
)
async def test_a_media_type_may_have_parameters(lasting_gateway, media_type):
    headers = {"content-type": media_type}
    answer = await lasting_gateway.client.post("/predict", content=b'{"text": "a"}', headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("deadline", ["1000000000", "9" * 40])
async def test_a_deadline_past_the_limit_means_the_limit(lasting_gateway, deadline):
    answer = await lasting_gateway.client.post("/predict", json={"text": "a"}, headers={"x-deadline-ms": deadline})
    assert answer.status_code == 200


async def test_an_accept_header_that_is_not_json_is_ignored(lasting_gateway):
    answer = await lasting_gateway.client.post("/predict", json={"text": "a"}, headers={"accept": "text/html"})
    assert answer.status_code == 200


async def test_what_was_refused_is_not_repeated_in_metrics(lasting_gateway):
    await lasting_gateway.client.post("/predict", json={"text": "a", "model": CANARY})
    answer = await lasting_gateway.client.get("/metrics")
    assert answer.status_code == 200
    assert CANARY not in answer.text

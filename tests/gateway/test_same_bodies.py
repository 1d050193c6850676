"""The hot route takes and refuses the same bodies, with the same codes, as an ordinary route with the same model."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from gateway.app import create_app
from gateway.callers import Callers
from gateway.fleet import ModelView
from gateway.problems import Problem
from gateway.schemas import PredictBody, explained
from gateway.serving import Accepted, Question
from gateway.settings import GatewaySettings

JSON = {"content-type": "application/json"}


class AnyAnswer:
    """Knows every model, and answers every question."""

    async def model(self, name: str) -> ModelView:
        return ModelView(name)

    async def serve(self, question: Question, *_: Any) -> Accepted:
        return Accepted(("an id",) * len(question.texts), (b"{}",) * len(question.texts))


def hot() -> FastAPI:
    app = create_app(GatewaySettings())
    app.state.gateway = SimpleNamespace(settings=GatewaySettings(), serving=AnyAnswer(), callers=Callers())
    return app


def ordinary() -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    async def predict(body: PredictBody) -> bool:
        return isinstance(body, PredictBody)

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> Response:
        errors = [entry | {"loc": entry["loc"][1:]} for entry in error.errors()]  # without "body"
        return Problem.invalid(explained(PredictBody, errors)).response()

    return app


HOT, ORDINARY = (
    httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") for app in (hot(), ordinary())
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30) | st.sampled_from(
    ["", " ", "\u200b"]
)
longest = st.sampled_from(["a" * 10_000, "a" * 10_001])
labels = st.sampled_from(["positive", "negative", "", "x" * 65]) | texts
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,31}", fullmatch=True)
fitting: dict[str, st.SearchStrategy[Any]] = {
    "text": texts | longest,
    "texts": st.lists(texts, max_size=66),
    "model": st.just("sentiment") | texts,
    "true_label": labels | st.lists(labels | st.none(), max_size=4),
    "true_sentiment": labels,
    "threshold": st.floats(-0.5, 1.5),
    "tags": st.dictionaries(names | texts, texts, max_size=5),
    "subject": texts,
    "truncate": st.booleans(),
}
# Bodies that nearly fit, bodies with anything in a known or unknown field, and what is no object at all.
bodies = (
    st.fixed_dictionaries({"text": texts}, optional={name: fitting[name] for name in fitting if name != "text"})
    | st.fixed_dictionaries({}, optional=fitting)
    | st.dictionaries(st.sampled_from(sorted(fitting)) | texts, anything, max_size=4)
    | anything
)


async def ask_both(content: bytes) -> list[httpx.Response]:
    return [await client.post("/predict", content=content, headers=JSON) for client in (HOT, ORDINARY)]


@settings(max_examples=250, deadline=None)
@given(body=bodies)
@example(body={"text": "a", "threshold": True})
@example(body={"text": "a", "threshold": 1})
@example(body={"text": "a", "truncate": "true"})
@example(body={"text": "a", "tags": {"a": "b"}, "true_sentiment": "positive", "true_label": "positive"})
@example(body={"texts": ["a", "b"], "true_label": ["positive", None]})
def test_both_ways_take_and_refuse_the_same_bodies_with_the_same_codes(body: Any) -> None:
    ours, theirs = asyncio.run(ask_both(json.dumps(body).encode()))

    event(str(ours.status_code))
    assert ours.status_code == theirs.status_code
    if ours.status_code != 200:
        assert ours.json() == theirs.json()

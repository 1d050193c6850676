"""A gateway and monitor of a few lines, served by uvicorn: answers by a rule, counts, refuses when told to."""

import asyncio
import threading
from collections import deque
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.servers import free_port, wait_until

UNKNOWN_ID = "sentiment.0.0192a0b0-2222-7000-8000-000000000000"
LABELS = ("negative", "positive")


def right_answer(text: str) -> str:
    return "positive" if "good" in text else "negative"


class StubGateway:
    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []  # each call that was done, not merely repeated
        self.attempts: list[str | None] = []  # the key of each call that arrived
        self.answers: dict[str, dict[str, Any]] = {}
        self.refusals: deque[tuple[int, str, str]] = deque()  # status, code, Retry-After of the next calls
        self.lost_answers = 0  # calls that are done and whose caller is told 503
        self.late: set[str] = set()  # texts that miss their deadline the first time they are asked for
        self.forbidden = ""  # a text with this word is refused, and the whole call with it
        self.counted_share = 1.0  # of what the monitor should count
        self.misjudged = 0  # answers that the monitor calls right and that are wrong
        self.feedback: list[dict[str, str]] = []

    def predict(self, body: dict[str, Any], key: str | None) -> Response:
        self.attempts.append(key)
        if self.refusals:
            status, code, after = self.refusals.popleft()
            return problem(status, code, headers={"Retry-After": after})
        texts = body.get("texts") or [body["text"]]
        if self.forbidden and any(self.forbidden in text for text in texts):
            return problem(422, "too_long", errors=[{"pointer": "/texts/0", "code": "too_long", "max": 10_000}])
        if key is None or key not in self.answers:
            self.bodies.append(body)
            answers = [self.answer(f"sentiment.0.{len(self.bodies)}-{n}", text) for n, text in enumerate(texts)]
            self.answers[key or ""] = {"predictions": answers}
            if self.late & set(texts):
                self.late.clear()
                return JSONResponse(
                    {
                        "predictions": [
                            {"id": a["id"], "error": {"code": "deadline_exceeded", "status": 504}} for a in answers
                        ]
                    }
                )
        if self.lost_answers:
            self.lost_answers -= 1
            return problem(503, "broker_unavailable", headers={"Retry-After": "0"})
        answer = self.answers[key or ""]
        return JSONResponse(answer if "texts" in body else answer["predictions"][0])

    def answer(self, identity: str, text: str) -> dict[str, Any]:
        if "crash" in text:
            return {"id": identity, "error": {"code": "inference_failed", "status": 502}}
        label = right_answer(text)
        return {
            "id": identity,
            "model": "sentiment",
            "version": "v1",
            "label": label,
            "label_id": LABELS.index(label),
            "confidence": 0.9,
            "probabilities": {each: 0.9 if each == label else 0.1 for each in LABELS},
            "abstained": False,
            "truncated": False,
            "timing_ms": {"queue": 1.0, "inference": 2.0, "total": 3.0},
        }

    def report(self) -> dict[str, Any]:
        runs: dict[str, list[bool]] = {}
        for body in (body for body in self.bodies if "tags" in body):
            for text, label in zip(body["texts"], body["true_label"], strict=True):
                if "crash" not in text:
                    runs.setdefault(body["tags"]["evaluation"], []).append(right_answer(text) == label)
        runs = {run: hits[: int(len(hits) * self.counted_share)] for run, hits in runs.items()}
        return {
            "evaluations": {
                run: {
                    version: {"count": len(part), "correct": sum(part) + (self.misjudged if version == "v1" else 0)}
                    for version, part in (("v1", hits[::2]), ("v2", hits[1::2]))
                }
                for run, hits in runs.items()
            }
        }

    async def on_predict(self, request: Request) -> Response:
        response = self.predict(await request.json(), request.headers.get("Idempotency-Key"))
        if request.headers.get("Prefer") == "respond-async":
            return JSONResponse({"id": self.answers[request.headers["Idempotency-Key"]]["predictions"][0]["id"]}, 202)
        return response

    async def on_prediction(self, request: Request) -> Response:
        answers = [one for call in self.answers.values() for one in call["predictions"]]
        return JSONResponse(next(one for one in answers if one["id"] == request.path_params["id"]))

    async def on_feedback(self, request: Request) -> Response:
        body = await request.json()
        if body["id"] == UNKNOWN_ID:
            return problem(404, "not_found")
        if body["label"] not in LABELS:
            return problem(422, "bad_label")
        self.feedback.append(body)
        return JSONResponse({"id": body["id"], "status": "accepted"}, 202)

    async def on_models(self, _: Request) -> Response:
        versions = [{"version": "v1", "labels": LABELS}]
        return JSONResponse({"models": [{"name": "sentiment", "live": "v1", "versions": versions}]})

    async def on_report(self, _: Request) -> Response:
        return JSONResponse(self.report())


def problem(status: int, code: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    document = {"type": f"urn:problem:{code}", "title": f"Title of {code}", "status": status, "code": code, **members}
    return JSONResponse(document, status, headers, "application/problem+json")


def app_of(stub: StubGateway) -> Starlette:
    paths = ("/predict", "/v1/models/sentiment/predict", "/v1/models/sentiment/versions/v1/predict")
    return Starlette(
        routes=[
            *(Route(path, stub.on_predict, methods=["POST"]) for path in paths),
            Route("/v1/predictions/{id}", stub.on_prediction),
            Route("/feedback", stub.on_feedback, methods=["POST"]),
            Route("/v1/models", stub.on_models),
            Route("/report/sentiment", stub.on_report),
        ]
    )


class Served:
    """The stub on a free port, in a thread of its own."""

    def __init__(self, stub: StubGateway) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(app_of(stub), port=self.port, log_level="error", ws="none", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started, "the stub answers")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

"""Celery over Redis behind FastAPI: two worker processes, the answer fetched through the result backend."""

import os

from celery import Celery
from celery.signals import worker_process_init
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from bench.serving.peers.core import Core

celery = Celery("peer", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
celery.conf.update(task_ignore_result=False, worker_prefetch_multiplier=4, result_expires=60)
app = FastAPI()
_core: list[Core] = []


@worker_process_init.connect
def _load(**_: object) -> None:
    _core.append(Core())


@celery.task(name="classify")  # type: ignore[untyped-decorator]
def classify(text: str) -> dict[str, object]:
    """Classify one text."""
    return _core[0].answers([text])[0]


class Body(BaseModel):
    """One text."""

    text: str


@app.post("/predict")
async def predict(body: Body) -> dict[str, object]:
    """Send a task and wait for its result, in a thread as Celery's client has no other way."""
    result = await run_in_threadpool(classify.delay, body.text)
    found: dict[str, object] = await run_in_threadpool(result.get, timeout=60)
    return found

"""FastAPI with the model in its own process: ``uvicorn --workers 2 bench.serving.peers.inprocess:app``."""

from fastapi import FastAPI
from pydantic import BaseModel

from bench.serving.peers.core import Core

app = FastAPI()
core = Core()


class Body(BaseModel):
    """One text."""

    text: str


@app.post("/predict")
async def predict(body: Body) -> dict[str, object]:
    """Run the model on the event loop: a thread would only take turns with it on one core."""
    return core.answers([body.text])[0]

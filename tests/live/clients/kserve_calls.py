"""KServe's own client with its own settings, every call that it has over HTTP: kserve_calls.py GATEWAY MODEL."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


async def main(gateway: str, model: str) -> dict[str, object]:
    """Ask everything once, for text as JSON and as bytes."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    found: dict[str, object] = {
        "server live": await client.is_server_live(gateway),
        "server ready": await client.is_server_ready(gateway),
        "model ready": await client.is_model_ready(gateway, model),
    }
    for binary in (False, True):
        text = InferInput("text", [2], "BYTES")
        text.set_data_from_numpy(np.array([b"a joy", b"a bore"], dtype=object), binary_data=binary)
        asked = InferRequest(model_name=model, infer_inputs=[text], request_id="7")
        answer = await client.infer(gateway, asked, model_name=model)
        labels = next(output for output in answer.outputs if output.name == "label").as_numpy().tolist()
        found[f"binary {binary}"] = [answer.id, answer.model_name, [str(label) for label in labels]]
    try:
        await client.infer(gateway, asked, model_name="unknown")
    except httpx.HTTPStatusError as error:
        found["refused"] = str(error).partition(" for url")[0]
    await client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))

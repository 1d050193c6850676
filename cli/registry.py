"""The aliases of MLflow's registry, brought in line with the store's pointer by MLflow's HTTP interface."""

import os
from typing import Any, Final

import httpx

from broker.addresses import without_login
from broker.manifest import Pointer

LIVE: Final = "live"
CANARY: Final = "canary"
PATIENCE_S: Final = 5.0
NO_SERVER: Final = "MLFLOW_TRACKING_URI names no server (http://HOST:PORT)"
_API: Final = "/api/2.0/mlflow"


async def move_aliases(model: str, pointer: Pointer) -> str:
    """Let the registry that MLFLOW_TRACKING_URI names say what *pointer* says; return why it does not, or nothing.

    Without that variable there is no registry to tell. The store's pointer is the truth either way.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address:
        return ""
    if not address.startswith(("http://", "https://")):
        return NO_SERVER
    try:
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S, auth=_who()) as http:
            return await _move(http, model, pointer)
    except httpx.HTTPStatusError as error:
        return f"it answered {error.response.status_code} to {error.request.method} {error.request.url.path}"
    except httpx.InvalidURL:  # whose message repeats what may be a password
        return NO_SERVER
    except (httpx.HTTPError, ValueError) as error:
        return without_login(str(error)) or type(error).__name__


async def _move(http: httpx.AsyncClient, model: str, pointer: Pointer) -> str:
    wanted = {LIVE: pointer.version} | ({CANARY: pointer.canary.version} if pointer.canary else {})
    listed = await _listed(http, model)
    for alias, version in wanted.items():
        if version not in listed:
            return f"it lists no {model} {version}"
        document = {"name": model, "alias": alias, "version": listed[version]}
        (await http.post(f"{_API}/registered-models/alias", json=document)).raise_for_status()
    if CANARY not in wanted:
        await http.request("DELETE", f"{_API}/registered-models/alias", json={"name": model, "alias": CANARY})
    return ""


async def _listed(http: httpx.AsyncClient, model: str) -> dict[str, str]:
    """Return our versions and MLflow's own numbers for them, which a tag connects."""
    found: dict[str, str] = {}
    asked: dict[str, Any] = {"filter": f"name='{model}'", "max_results": 1000}
    while True:
        answer = (await http.get(f"{_API}/model-versions/search", params=asked)).raise_for_status().json()
        for entry in answer.get("model_versions", ()):
            tags = {tag["key"]: tag["value"] for tag in entry.get("tags", ())}
            if "version" in tags:
                found[tags["version"]] = entry["version"]
        if not answer.get("next_page_token"):
            return found
        asked["page_token"] = answer["next_page_token"]


def _who() -> httpx.BasicAuth | None:
    name, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    return httpx.BasicAuth(name, password) if name and password else None

"""Calls to the gateway that are safe to repeat; every refusal is one line that says what to do."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson

from broker.addresses import is_loopback, without_login
from broker.errors import ObservaError
from broker.settings import read_secret
from cli.settings import CliSettings
from cli.terminal import printable

FIRST_PAUSE_S = 0.25  # where the gateway does not say how long to wait
LONGEST_PAUSE_S = 10.0
WORTH_REPEATING = frozenset({429, 503})

ADVICE: Final[dict[str, str]] = {
    "broker_unavailable": "start everything with: just up",
    "model_unavailable": "start a worker with: just up",
    "overloaded": "try again in a moment, or run: just scale-workers 4",
    "deadline_exceeded": "the workers are behind; run: just scale-workers 4",
    "inference_failed": "why: just dead list",
    "model_not_found": "what is served: GET /v1/models",
    "unauthorized": "name a file with a key in OBSERVA_API_KEY_FILE; to make one: just keys create NAME",
    "forbidden": "a key with more scopes: just keys create NAME --scopes predict,feedback,admin",
    "version_not_loaded": "what is served: GET /v1/models",
}


class UnreachableError(ObservaError):
    """Nothing that is a gateway answers at its address."""


class RefusedError(ObservaError):
    """The gateway answered with a problem; *retry_after_s* where it says when to try again."""

    def __init__(self, message: str, status: int, code: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class Gateway:
    """The gateway's HTTP interface."""

    def __init__(self, settings: CliSettings, http: httpx.AsyncClient) -> None:
        self._url = without_login(settings.gateway)
        self._http = http

    async def get(self, path: str) -> dict[str, Any]:
        """Return the JSON at *path*.

        Raises:
            UnreachableError, RefusedError: as named.

        """
        return await self._once("GET", path, None, {})

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send *body* once and return the answer's JSON.

        Raises:
            UnreachableError, RefusedError: as named.

        """
        return await self._once("POST", path, _encoded(body), {})

    async def post_patiently(self, path: str, body: dict[str, Any], key: str, patience_s: float) -> dict[str, Any]:
        """Send *body* until it is answered: again while the gateway is busy or away, for up to *patience_s* seconds.

        The idempotency *key* makes all the sendings one request.

        Raises:
            UnreachableError, RefusedError: as named; the last one met.

        """
        content, end, pause_s = _encoded(body), time.monotonic() + patience_s, FIRST_PAUSE_S
        while True:
            try:
                return await self._once("POST", path, content, {"Idempotency-Key": key})
            except (UnreachableError, RefusedError) as error:
                asked_s = None
                if isinstance(error, RefusedError):
                    if error.status not in WORTH_REPEATING:
                        raise
                    asked_s = error.retry_after_s
                wait_s = (pause_s if asked_s is None else asked_s) * random.uniform(1, 1.3)
                if time.monotonic() + wait_s > end:
                    raise
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def labels(self, model: str, version: str | None) -> list[str]:
        """Return the labels of one version, the live one unless it is named.

        Raises:
            UnreachableError, RefusedError: as named; so, too, for a model that is not served.

        """
        served = {each["name"]: each for each in (await self.get("/v1/models"))["models"]}
        if model not in served or served[model]["live"] is None:
            there = ", ".join(name for name, each in served.items() if each["live"]) or "none"
            raise RefusedError(f"no worker serves {model!r}; served are: {there}; run: just up", 404, "model_not_found")
        versions = {each["version"]: each for each in served[model]["versions"]}
        wanted = version or served[model]["live"]
        if wanted not in versions:
            there = ", ".join(versions) or "none"
            raise RefusedError(f"no worker has {model} {wanted} loaded; loaded are: {there}", 404, "version_not_loaded")
        return list(versions[wanted]["labels"])

    async def _once(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> dict[str, Any]:
        if content is not None:
            headers = {"Content-Type": "application/json", **headers}
        try:
            response = await self._http.request(method, path, content=content, headers=headers)
        except httpx.TimeoutException:
            raise UnreachableError(f"the gateway at {self._url} does not answer in time; run: just up") from None
        except httpx.TransportError:
            raise UnreachableError(f"no gateway answers at {self._url}; run: just up") from None
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        if isinstance(answer, dict) and response.is_success:
            return answer
        if isinstance(answer, dict) and isinstance(answer.get("code"), str):
            raise _refusal(answer, response)
        raise RefusedError(
            f"{self._url} answers {response.status_code}, and not as a gateway does; check OBSERVA_GATEWAY_URL",
            response.status_code,
            "not_a_gateway",
        )


@asynccontextmanager
async def connected(settings: CliSettings) -> AsyncIterator[Gateway]:
    """Hold connections to the gateway while a command runs."""
    async with client(settings.gateway, settings.gateway_timeout_s) as http:
        if settings.api_key_file is not None:
            http.headers["Authorization"] = f"Bearer {read_secret(settings.api_key_file, 'OBSERVA_API_KEY_FILE')}"
        yield Gateway(settings, http)


def client(url: str, timeout_s: float) -> httpx.AsyncClient:
    """Return an HTTP client for *url*; a proxy from the environment is not asked for this machine's own addresses."""
    local = is_loopback(httpx.URL(url).host)
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=not local, limits=limits)


def predict_path(model: str | None, version: str | None) -> str:
    """Return where a text for *model* and *version* is sent; a version needs a model."""
    if model is None:
        return "/predict"
    versions = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v1/models/{quote(model, safe='')}{versions}/predict"


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise ObservaError("the text is not valid Unicode and cannot be sent") from None


def _refusal(problem: dict[str, Any], response: httpx.Response) -> RefusedError:
    code = problem["code"]
    seconds = response.headers.get("Retry-After", "")
    retry_after_s = float(seconds) if seconds.isascii() and seconds.isdigit() else None
    what = str(problem.get("detail") or problem.get("title") or code).rstrip(".")
    where = "; ".join(_place(error) for error in problem.get("errors") or () if isinstance(error, dict))
    identity = f"id {problem['id']}" if "id" in problem else ""
    parts = [f"{what} ({response.status_code} {code})", where, identity, ADVICE.get(code, "")]
    return RefusedError(printable("; ".join(filter(None, parts))), response.status_code, code, retry_after_s)


def _place(error: dict[str, Any]) -> str:
    rest = ", ".join(f"{name} {value}" for name, value in error.items() if name not in {"pointer", "code"})
    return f"{error.get('pointer', '')}: {error.get('code', '')}" + (f" ({rest})" if rest else "")

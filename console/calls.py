"""What the console asks of the gateway and the monitor, and what it says when they do not answer."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from broker.addresses import without_login
from console.sentences import of_problem
from console.settings import ConsoleSettings

PATIENCE_S: Final = 35.0  # the gateway's own deadline ends before
LOOK_S: Final = 4.0  # of what is asked again and again
FRESH_S: Final = 1.0  # all open pages share what was fetched within this time

Document = dict[str, Any]


class TroubleError(Exception):
    """What went wrong, in a sentence for the person at the page; `code` is the gateway's."""

    def __init__(self, sentence: str, code: str = "") -> None:
        super().__init__(sentence)
        self.code = code


class Calls:
    """The two services, by HTTP; one object for all pages."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self.settings = settings
        self._client = httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False)
        self._shared: dict[str, tuple[float, asyncio.Task[Document]]] = {}

    async def predict(self, texts: Sequence[str], model: str, version: str | None, threshold: float) -> list[Document]:
        """Return the answer to each text, or its ``error``.

        Raises:
            TroubleError: none was answered.

        """
        path = f"/v1/models/{model}/versions/{version}/predict" if version else f"/v1/models/{model}/predict"
        body = {"texts": list(texts), "threshold": threshold}
        found = await self._gateway("POST", path, body)
        predictions: list[Document] = found["predictions"]
        return predictions

    async def predict_one(self, text: str, model: str, version: str | None, threshold: float) -> Document:
        """Return the answer to *text*.

        Raises:
            TroubleError: there is none.

        """
        (found,) = await self.predict([text], model, version, threshold)
        if "error" in found:
            raise TroubleError(self.sentence(found))
        return found

    @staticmethod
    def sentence(failed: Document) -> str:
        """Return what became of one text of several that was not answered."""
        return of_problem(str(failed["error"].get("code", "")), int(failed["error"].get("status", 0)), {})

    async def feedback(self, prediction: str, label: str) -> str:
        """Say what was right; return ``accepted``, ``same``, ``replaced`` or ``parked``."""
        return str((await self._gateway("POST", "/feedback", {"id": prediction, "label": label}))["status"])

    async def ask_why(self, question: Mapping[str, Any]) -> Document:
        """Ask for an explanation of an ``id`` or a ``text``; return it, or that it is ``pending``."""
        return await self._gateway("POST", "/v1/explanations", dict(question))

    async def explanation(self, explanation: str) -> Document:
        """Return an explanation, or that it is ``pending``."""
        return await self._gateway("GET", f"/v1/explanations/{explanation}")

    async def models(self) -> list[Document]:
        """Return every model with its versions."""
        found = await self._shared_get("models", "/v1/models")
        models: list[Document] = found["models"]
        return models

    async def streams(self) -> list[Document]:
        """Return how far each reader is."""
        streams: list[Document] = (await self._shared_get("streams", "/v1/streams", admin=True))["streams"]
        return streams

    async def stream(self, model: str, stream: str, count: int) -> Document:
        """Return one stream: its readers, and its latest entries."""
        path = f"/v1/streams/{model}/{stream}?count={count}"
        return await self._shared_get(path, path, admin=True)

    async def redrive(self, dead: str) -> Document:
        """Send a dead letter again."""
        return await self._gateway("POST", f"/v1/dead/{dead}/redrive", {}, admin=True)

    async def reports(self) -> Document:
        """Return the monitor's report of every model."""
        return await self._shared_report("/report")

    async def report(self, model: str, since: str) -> Document:
        """Return the monitor's report of *model* with the time since *since*, such as ``1h``, step by step."""
        return await self._shared_report(f"/report/{model}?since={since}")

    async def versions(self, model: str) -> list[str]:
        """Return the versions of *model* that the monitor has met, shadows included."""
        report = (await self.reports()).get(model, {})
        return sorted({*report.get("versions", {}), *report.get("shadows", {})})

    async def compare(self, model: str, first: str, second: str, since: str) -> Document:
        """Return what the monitor says of two versions side by side; a long log takes it some seconds."""
        query = urlencode({"model": model, "a": first, "b": second, "since": since})
        return await self._shared_report(f"/compare?{query}", PATIENCE_S)

    async def answers(self, url: str) -> bool:
        """Tell whether something answers at *url*."""
        try:
            await self._client.get(url, timeout=1.0)
        except httpx.HTTPError:
            return False
        return True

    async def _gateway(self, method: str, path: str, body: Document | None = None, *, admin: bool = False) -> Document:
        base = self.settings.admin_url if admin else self.settings.console_gateway_url
        key = self.settings.key(admin=admin)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        patience = PATIENCE_S if method == "POST" else LOOK_S
        return await self._fetch("gateway", base, method, path, body, headers, patience)

    async def _shared_get(self, name: str, path: str, *, admin: bool = False) -> Document:
        return await self._once(name, lambda: self._gateway("GET", path, admin=admin))

    async def _shared_report(self, path: str, patience: float = LOOK_S) -> Document:
        base = self.settings.console_monitor_url
        return await self._once(path, lambda: self._fetch("monitor", base, "GET", path, None, {}, patience))

    async def _once(self, name: str, ask: Any) -> Document:
        """Ask once for all pages that want the same within `FRESH_S`."""
        asked_at, asking = self._shared.get(name, (0.0, None))
        if asking is None or time.monotonic() - asked_at > FRESH_S:
            asking = asyncio.create_task(ask())
            asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._shared = {n: kept for n, kept in self._shared.items() if time.monotonic() - kept[0] < LOOK_S}
            self._shared[name] = (time.monotonic(), asking)
        return await asyncio.shield(asking)

    async def _fetch(  # noqa: PLR0913, PLR0917 - one request, whole
        self,
        service: str,
        base: str,
        method: str,
        path: str,
        body: Document | None,
        headers: Mapping[str, str],
        patience: float,
    ) -> Document:
        shown = without_login(base)
        try:
            answer = await self._client.request(method, base + path, json=body, headers=headers, timeout=patience)
        except httpx.TimeoutException:
            raise TroubleError(f"The {service} at {shown} did not answer in time; this page goes on trying.") from None
        except httpx.HTTPError:
            raise TroubleError(f"The {service} at {shown} cannot be reached; this page goes on trying.") from None
        try:
            document = answer.json()
        except ValueError:
            raise TroubleError(f"What answers at {shown} is not Observa's {service}.") from None
        if answer.is_success and isinstance(document, dict):
            return document
        code = str(document.get("code", "")) if isinstance(document, dict) else ""
        raise TroubleError(of_problem(code, answer.status_code, document), code)

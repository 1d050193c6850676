"""A small client for Observa: wait for an answer, ask for it later, say what was right. Needs only httpx.

    python examples/client.py

A call that failed half-way is sent again under the same Idempotency-Key, so it is never done twice.
"""

import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx

ATTEMPTS = 5
BUSY = {429, 503}  # not now; Retry-After says when
PENDING = 202  # accepted, not yet answered
Json = dict[str, Any]


class ObservaProblem(Exception):  # noqa: N818 - what the service calls it (RFC 9457)
    """The service said no; ``code`` is stable and may be compared with."""

    def __init__(self, problem: Json) -> None:
        super().__init__(f"{problem.get('title')} ({problem.get('code')})")
        self.code = problem.get("code")


class Observa:
    """One service. Keep one object for many calls: it keeps its connections."""

    def __init__(self, url: str = "http://127.0.0.1:8000", timeout_s: float = 35) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_s)
        self.close = self._http.close

    def predict(self, text: str, **options: Any) -> Json:
        """Classify one text and wait: ``{"id", "label", "confidence", "probabilities", ...}``.

        Options are the fields of ``POST /predict``: ``model``, ``true_label``, ``threshold``, ``tags``, ...
        """
        return self._post("/predict", {"text": text, **options})

    def predict_many(self, texts: list[str], **options: Any) -> list[Json]:
        """Classify up to 64 texts in one call; answers come in order, each a prediction or ``{"id", "error"}``."""
        return list(self._post("/predict", {"texts": texts, **options})["predictions"])

    def submit(self, text: str, **options: Any) -> str:
        """Hand one text over without waiting; return the id to ask for."""
        return str(self._post("/predict", {"text": text, **options}, {"Prefer": "respond-async"})["id"])

    def result(self, prediction_id: str, wait_s: float = 60) -> Json:
        """Ask for a submitted text's answer until it is there."""
        end, pause_s = time.monotonic() + wait_s, 0.02
        while True:
            response = self._repeat(lambda: self._http.get(f"/v1/predictions/{prediction_id}"))
            if response.status_code != PENDING:
                return dict(response.json())
            if time.monotonic() > end:
                raise TimeoutError(f"{prediction_id} is not answered after {wait_s} s; ask again later")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 1.0)

    def feedback(self, prediction_id: str, label: str) -> None:
        """Say what was right; saying it twice counts once."""
        self._post("/feedback", {"id": prediction_id, "label": label})

    def _post(self, path: str, body: Json, headers: dict[str, str] | None = None) -> Json:
        headers = {"Idempotency-Key": str(uuid.uuid4()), **(headers or {})}  # one key for all attempts of this call
        return dict(self._repeat(lambda: self._http.post(path, json=body, headers=headers)).json())

    def _repeat(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """Send until the service answers anything but "busy"; wait longer each time, never in step with others."""
        attempt = 0
        while True:
            attempt, pause_s = attempt + 1, 0.2 * 2**attempt
            try:
                response = send()
            except httpx.TransportError:  # not sent, or the answer was lost: the key makes both safe to repeat
                if attempt == ATTEMPTS:
                    raise
            else:
                if response.is_success:
                    return response
                if response.status_code not in BUSY or attempt == ATTEMPTS:
                    json = response.headers.get("Content-Type") == "application/problem+json"
                    raise ObservaProblem(response.json() if json else {"title": f"HTTP {response.status_code}"})
                pause_s = float(response.headers.get("Retry-After", pause_s))
            time.sleep(pause_s * random.uniform(1, 1.5))


def main() -> None:
    """Show each way once."""
    with closing(Observa(os.environ.get("OBSERVA_GATEWAY_URL", "http://127.0.0.1:8000"))) as observa:
        now = observa.predict("A warm, funny film that earns every one of its tears.")
        print(f"now:    {now['label']} ({now['confidence']:.3f}) by {now['model']} {now['version']}")
        for one in observa.predict_many(["Loud, empty and far too long.", "Not bad at all."]):
            print(f"many:   {one.get('label') or one['error']['code']}")
        later = observa.result(observa.submit("I checked my watch eleven times."))
        print(f"later:  {later['label']} ({later['confidence']:.3f})")
        observa.feedback(later["id"], "negative")
        print(f"told:   {later['id']} was negative")


if __name__ == "__main__":
    try:
        main()
    except (ObservaProblem, httpx.TransportError) as error:
        sys.exit(f"examples/client.py: {error}; is it running? just up")

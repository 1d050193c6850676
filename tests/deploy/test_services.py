"""The services themselves under the supervisor, as `just up` runs them."""

import threading
from collections import Counter
from typing import Self

import httpx
import pytest

from tests.deploy.conftest import ROOT, Stack

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


class Caller:
    """Sends one text after the other until told to stop; counts what came back."""

    def __init__(self, url: str) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(4)]

    def _call(self) -> None:
        with httpx.Client(timeout=40) as client:
            while not self._stop.is_set():
                self.statuses[client.post(self._url, json={"text": "a joy"}).status_code] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def real(tmp_path):
    stack = Stack(tmp_path, tree=ROOT)
    stack.environment |= {"OBSERVA_WORKERS": "1"}
    yield stack
    stack.end()


def test_scaling_and_a_killed_worker_lose_no_request_and_answers_survive_a_restart(real):
    real.ok("up")
    url = f"http://127.0.0.1:{real.gateway_port}"
    first = httpx.post(f"{url}/predict", json={"text": "a joy from start to finish"}).raise_for_status().json()
    with Caller(f"{url}/predict") as caller:
        real.ok("scale", "2")
        real.kill("worker-0")
        real.ok("scale", "1")
    assert set(caller.statuses) == {200}
    real.ok("down")
    real.ok("up")
    assert httpx.get(f"{url}/v1/predictions/{first['id']}").json() == first
    assert "bad" not in real.ok("doctor")

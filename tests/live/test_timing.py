"""What an answer says of its time, what the gateway counts and what its caller sees are one and the same."""

import re
import time
from statistics import fmean

import httpx
import pytest

from tests.live.services import Services, body, make_model

CALLS = 3
MODEL_MS = 800


@pytest.fixture
def services(server, tmp_path):
    services = Services(server, tmp_path, model="strange", worker_models="strange")
    make_model(services.models, "strange")
    yield services
    services.stop()


def test_three_clocks_agree_within_a_tenth(services):
    services.worker()
    gateway = services.gateway()
    seen, said = [], []
    with httpx.Client(base_url=gateway.url) as client:
        for _ in range(CALLS):
            began = time.perf_counter()
            answer = client.post(
                "/predict", content=body(f"SLEEP-{MODEL_MS}"), headers={"content-type": "application/json"}
            )
            seen.append((time.perf_counter() - began) * 1000)
            said.append(answer.json()["timing_ms"])
        text = client.get("/metrics").text
    total, calls = (
        float(re.findall(rf'observa_request_duration_seconds_{what}{{model="strange"}} (\S+)', text)[0])
        for what in ("sum", "count")
    )

    assert calls == CALLS
    assert total / calls * 1000 == pytest.approx(fmean(seen), rel=0.1)
    assert fmean(timing["total"] for timing in said) == pytest.approx(fmean(seen), rel=0.1)
    for timing in said:
        assert timing["total"] == pytest.approx(timing["queue"] + timing["inference"], rel=0.1)
        assert timing["inference"] >= MODEL_MS

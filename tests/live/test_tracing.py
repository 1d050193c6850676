"""One request's spans, from real processes to a real receiver."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from broker.errors import SettingsError
from broker.streams import WORKERS, Tag
from broker.tracing import start_tracing
from tests.live.collector import Collector, Seen
from tests.live.services import ROOT, Process, Services
from tests.servers import free_port, wait_until

TAG = Tag("strange")
CANARY = "c4n4ry"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture
def traced(services: Services, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    services.settings["OBSERVA_GATEWAY_ACCESS_LOG"] = "true"
    return services


def said(process: Process, event: str) -> list[dict[str, object]]:
    """The lines of a log that say *event*; all lines are checked to be what they should."""
    lines = [json.loads(line) for line in process.log.read_text().rpartition("\n")[0].splitlines()]
    assert all({"at", "level", "service", "logger", "event"} <= line.keys() for line in lines)
    assert CANARY not in process.log.read_text()
    return [line for line in lines if line["event"] == event]


def kinds(spans: list[Seen]) -> list[str]:
    return [span.kind for span in spans]


def test_a_call_is_one_trace_from_http_over_the_log_to_its_result(traced, collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")  # what its caller records, and no other
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    gateway = traced.gateway(ready=False)
    traced.worker()
    for _ in range(20):
        assert httpx.post(f"{gateway.url}/predict", json={"text": f"good {CANARY}"}).status_code == 200
    answer = httpx.post(f"{gateway.url}/predict", json={"text": f"good {CANARY}"}, headers=SAMPLED)
    assert answer.status_code == 200
    wait_until(lambda: len(collector.trace(TRACE)) == 6, "all spans arrive")
    spans = collector.trace(TRACE)
    call, send, receive, process, infer, result = spans
    assert [span.name for span in spans] == [
        "POST /predict",
        "send observa:{strange}:requests",
        "receive observa:{strange}:requests",
        "process observa:{strange}:requests",
        "infer strange",
        "send observa:{strange}:results",
    ]
    parents = [span.parent_id for span in spans]
    assert parents == [PARENT, call.span_id, send.span_id, receive.span_id, process.span_id, process.span_id]
    assert {span.service for span in spans} == {"observa-gateway", "observa-worker"}
    assert infer.began_ns <= infer.ended_ns <= result.began_ns <= result.ended_ns <= process.ended_ns
    assert call.attributes["http.response.status_code"] == 200
    assert send.attributes["observa.ids"] == [answer.json()["id"]]
    assert process.attributes["messaging.message.id"] == answer.json()["id"]
    assert (process.attributes["observa.deliveries"], process.attributes["observa.published"]) == (1, True)
    assert {span.trace_id for span in collector.spans if span.kind != "batch"} == {TRACE}
    assert CANARY.encode() not in collector.raw
    *_, line = said(gateway, "answered")
    assert line["ids"] == [answer.json()["id"]]
    assert (line["service"], line["trace_id"], line["route"], line["status"]) == ("gateway", TRACE, "/predict", 200)


def test_a_batch_has_a_trace_of_its_own_linked_to_each_request_and_back(traced, collector):
    gateway = traced.gateway(ready=False)
    calls = {f"{number:032x}": f"good {CANARY} {number}" for number in range(1, 6)}
    for trace, text in calls.items():
        headers = {"traceparent": f"00-{trace}-{PARENT}-01", "Prefer": "respond-async"}
        assert httpx.post(f"{gateway.url}/predict", json={"text": text}, headers=headers).status_code == 202
    unsampled = {"traceparent": f"00-{'9' * 32}-{PARENT}-00", "Prefer": "respond-async"}
    assert httpx.post(f"{gateway.url}/predict", json={"text": "bad"}, headers=unsampled).status_code == 202
    traced.worker()
    wait_until(lambda: all(len(collector.trace(trace)) == 6 for trace in calls), "all spans arrive")
    [batch] = [span for span in collector.spans if span.kind == "batch"]
    processing = {trace: next(span for span in collector.trace(trace) if span.kind == "process") for trace in calls}
    assert set(batch.links) == {(trace, span.span_id) for trace, span in processing.items()}
    assert batch.attributes["observa.batch.size"] == 6
    for trace in calls:
        [infer] = [span for span in collector.trace(trace) if span.kind == "infer"]
        assert infer.links == ((batch.trace_id, batch.span_id),)
        assert (infer.began_ns, infer.ended_ns) == (batch.began_ns, batch.ended_ns)
    assert not collector.trace("9" * 32), "what its caller does not record is not recorded"
    assert CANARY.encode() not in collector.raw


def test_a_killed_workers_delivery_is_seen_and_the_next_one_is_linked_to_it(traced, collector, look):
    gateway = traced.gateway(ready=False)
    first = traced.worker()
    asked = {"text": f"good {CANARY} SLEEP-1500"}
    answer = httpx.post(f"{gateway.url}/predict", json=asked, headers=SAMPLED | {"Prefer": "respond-async"})
    wait_until(lambda: "receive" in kinds(collector.trace(TRACE)), "the first delivery is seen")
    first.kill()
    second = traced.worker()
    location = gateway.url + answer.headers["Location"]
    wait_until(lambda: httpx.get(location).status_code == 200, "another worker answers")
    wait_until(lambda: len(collector.trace(TRACE)) == 7, "all spans arrive")
    spans = collector.trace(TRACE)
    assert kinds(spans) == ["POST", "send", "receive", "receive", "process", "infer", "send"]
    lost, taken, process = spans[2:5]
    assert lost.attributes["messaging.client.id"] != taken.attributes["messaging.client.id"]
    assert lost.parent_id == taken.parent_id == spans[1].span_id
    assert taken.links == process.links == ((TRACE, lost.span_id),)
    assert process.attributes["observa.deliveries"] == 2
    assert look.xpending(TAG.requests, WORKERS)["pending"] == 0
    assert CANARY.encode() not in collector.raw
    [line] = said(second, "nobody finished it, so it is tried again")
    assert (line["id"], line["trace_id"], line["deliveries"]) == (answer.json()["id"], TRACE, 2)


def test_a_text_that_kills_its_worker_is_traced_to_the_dead_letters(traced, collector, look):
    traced.settings["OBSERVA_MAX_DELIVERIES"] = "2"
    gateway = traced.gateway(ready=False)
    asked = {"text": f"KILL {CANARY}"}
    httpx.post(f"{gateway.url}/predict", json=asked, headers=SAMPLED | {"Prefer": "respond-async"})
    worker = traced.worker(wait=False)

    def buried() -> bool:
        nonlocal worker
        if not worker.alive:
            worker = traced.worker(wait=False)
        return bool(look.xlen(TAG.dead))

    wait_until(buried, "it is buried", 60)
    wait_until(lambda: "process" in kinds(collector.trace(TRACE)), "its end is seen")
    [process] = [span for span in collector.trace(TRACE) if span.kind == "process"]
    assert process.attributes["observa.dead_letter"] == "crashed"
    assert process.attributes["observa.status"] == "inference_failed"
    assert len(process.links) == process.attributes["observa.deliveries"] - 1 == 1
    assert CANARY.encode() not in collector.raw
    wait_until(lambda: said(worker, "put aside"), "it is logged")
    [line] = said(worker, "put aside")
    assert (line["trace_id"], line["reason"]) == (TRACE, "crashed")


def test_without_a_collector_answers_come_all_the_same_and_it_is_said_once(services, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    deaf = Deaf()
    gateway = services.gateway(ready=False, OTEL_EXPORTER_OTLP_ENDPOINT=deaf.url)
    worker = services.worker(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    with httpx.Client(base_url=gateway.url) as client:
        for number in range(100):
            assert client.post("/predict", json={"text": f"good {number}"}).status_code == 200

    def counted(process: Process, outcome: str) -> bool:
        return f'observa_trace_spans_total{{outcome="{outcome}"}}' in httpx.get(f"{process.url}/metrics").text

    for process in (gateway, worker):
        wait_until(lambda process=process: counted(process, "dropped"), "what there is no room for is dropped")
        wait_until(lambda process=process: counted(process, "refused"), "what is not taken is counted")
    ended = time.monotonic()
    assert (gateway.terminate(), worker.terminate()) == (0, 0)
    assert time.monotonic() - ended < 15, "nobody waits for the collector"
    for process in (gateway, worker):
        assert (
            len(
                said(
                    process, "the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes no spans; they are counted and dropped"
                )
            )
            == 1
        )
        assert "Traceback" not in process.log.read_text()
    deaf.close()


class Deaf:
    """A port where connections are made and nothing is answered."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()


def test_nothing_that_makes_or_sends_spans_is_imported_unless_they_are_asked_for():
    code = """
import sys
import gateway.app, worker.app
from broker.tracing import start_tracing
from gateway.settings import GatewaySettings
gateway.app.create_app(GatewaySettings())
assert start_tracing("worker", None) is None
makers = ("broker.spans", "gateway.traced", "worker.traced", "opentelemetry.sdk.trace", "opentelemetry.exporter")
print([name for name in sys.modules if name.startswith(makers)])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "set otlp, or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "port 4318"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "20"}, "contradict each other"),
    ],
)
def test_spans_that_cannot_be_sent_are_said_at_the_start(monkeypatch, variables, line):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=line):
        start_tracing("worker", Counter("spans", "Spans.", ["outcome"], registry=CollectorRegistry()))


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_spans_are_off_unless_asked_for_and_off_where_said(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert start_tracing("worker", Counter("spans", "Spans.", ["outcome"], registry=CollectorRegistry())) is None

"""A word that callers send everywhere is found nowhere but where texts belong."""

import re
from collections.abc import Iterator

import httpx
import orjson
import pytest
from redis import Redis

from broker.streams import Tag
from tests.live.collector import Collector
from tests.live.services import Services, make_model
from tests.servers import RedisServer, wait_until

MODEL = "strange"
TAG = Tag(MODEL)
CANARY = "c4n4ry-0f-a-caller"
JSON = {"content-type": "application/json"}
MAY_HOLD_TEXTS = {TAG.requests, TAG.dead}

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture
def services(
    own_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    services = Services(
        own_server,
        tmp_path_factory.mktemp("services"),
        claim_ms=1000,
        model=MODEL,
        sync_deadline_ms=10_000,
        gateway_access_log=True,
    )
    make_model(services.models, MODEL)
    yield services
    services.stop()


def bodies() -> list[bytes]:
    """The word in every field, in good bodies and in bad ones, and in what is no JSON."""
    c = CANARY
    return [
        *map(
            orjson.dumps,
            (
                {"text": f"good {c}", "subject": c, "true_label": "positive"},
                {"texts": [f"bad {c}", c], "true_label": [None, c]},
                {"text": c, "model": c},
                {"text": c, "true_label": c},
                {"text": c, "tags": {c: c * 9}},
                {"text": c, "threshold": c},
                {"text": c, "truncate": c},
                {"text": [c], c: c},
                {"texts": c},
                {"text": f"RAISE {c}"},
                {"text": c * 2000},
                {"id": c, "label": c},
                {"inputs": [{"name": c, "shape": [1], "datatype": c, "data": [c]}], c: c},
                {"id": c, "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [f"RAISE {c}"]}]},
                {"inputs": [{"name": "text", "shape": [c], "datatype": "BYTES", "data": [c]}]},
            ),
        ),
        b'{"text": "' + c.encode(),
        b'{"text": "' + c.encode() + b'\xff"}',
        b'{"text": "' + c.encode() + rb'\ud800"}',
        c.encode(),
    ]


def ask_everything(client: httpx.Client) -> list[httpx.Response]:
    c = CANARY
    answers = []
    paths = [
        "/predict",
        "/feedback",
        f"/v1/models/{MODEL}/predict",
        f"/v2/models/{MODEL}/infer",
        f"/v1/models/{c}/predict",
    ]
    for path in paths:
        answers += [client.post(path, content=body, headers=JSON) for body in bodies()]
    for headers in (
        {"x-deadline-ms": c},
        {"idempotency-key": c},
        {"idempotency-key": c, "x-deadline-ms": "1"},
        {"prefer": c},
        {"traceparent": c},
        {"host": f"{c}.example"},
        {"content-encoding": c},
        {"content-type": c},
        {"authorization": f"Bearer {c}"},
        {"x-request-id": c, "user-agent": c, "referer": c, "cookie": c},
    ):
        answers.append(client.post("/predict", content=bodies()[0], headers=JSON | headers))
    for path in (f"/{c}", f"/v1/predictions/{c}", f"/v1/models/{c}", f"/predict?{c}={c}", f"/v2/models/{c}/ready"):
        answers += [client.get(path), client.request("DELETE", path)]
    return answers


def write_by_hand(look: Redis) -> None:
    """Entries that no gateway would write, the word in each field."""
    fields = ("text", "id", "version", "deadline_ms", "threshold", "tags", "subject", "true_label", "schema_version")
    for name in fields:
        look.xadd(TAG.requests, {"text": f"good {CANARY}", name: CANARY})
    look.xadd(TAG.requests, {"text": b"\xff" + CANARY.encode()})
    look.xadd(TAG.requests, {"text": "good", CANARY: CANARY})
    look.xadd(TAG.requests, {"text": f"KILL {CANARY}"})


def test_a_callers_word_is_found_only_where_texts_belong(
    services: Services, own_server: RedisServer, collector: Collector
) -> None:
    workers = [services.worker(), services.worker()]
    monitor = services.monitor()
    gateway = services.gateway()
    look = Redis(port=own_server.port)
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        answers = ask_everything(client)
        write_by_hand(look)
        wait_until(lambda: any(not worker.alive for worker in workers), "a text has killed a worker", 30)
        workers = [services.worker(wait=False) for _ in range(3)]

        def settled() -> bool:
            group = look.xinfo_groups(TAG.requests)[0]
            if group["pending"] and not any(worker.alive for worker in workers):
                workers.append(services.worker(wait=False))
            return not group["pending"] and not group["lag"]

        wait_until(settled, "everything is answered or dead-lettered", 60)
        answers += [
            client.get(path) for path in ("/metrics", "/v1/models", "/v1/streams", "/v1/alerts", "/openapi.json")
        ]
    pages = [httpx.get(monitor.url + path, timeout=10) for path in ("/metrics", "/report", "/healthz")]
    living = [worker.wait("/healthz") for worker in workers if worker.alive]  # some have only just begun
    pages += [httpx.get(worker.url + path, timeout=10) for worker in living for path in ("/metrics", "/healthz")]
    for answer in [*answers, *pages]:
        said = f"{answer.request.method} {answer.request.url.path}"
        assert CANARY not in answer.text + str(answer.headers), f"{said} repeats what was sent"
        assert answer.status_code in {200, 202, 400, 404, 405, 409, 410, 413, 415, 421, 422, 502, 504}, said
    assert CANARY not in services.logs()
    assert '"event":"answered"' in services.logs()
    assert {"POST", "send", "receive", "process", "infer", "batch"} <= {span.kind for span in collector.spans}
    assert CANARY.encode() not in collector.raw
    assert look.xlen(TAG.dead) > 5
    _only_texts_hold_it(look)
    look.close()


def _only_texts_hold_it(look: Redis) -> None:
    found = set()
    for key in look.scan_iter():
        name = key.decode()
        held = {b"stream": look.xrange, b"hash": look.hgetall, b"string": look.get, b"set": look.smembers}.get(
            look.type(key)
        )
        value = held(key) if held else look.zrange(key, 0, -1)
        if CANARY.encode() in repr(value).encode():
            found.add(re.sub(r":idem:.*", ":idem", name))
    assert found <= MAY_HOLD_TEXTS, found

"""How long the log holds a text, and what is told of the readers' positions when it goes early."""

import random
import sys
import time
import types

import pytest
from redis.asyncio import Redis

from broker.errors import SettingsError
from broker.explanations import Explanations
from broker.groups import ensure_groups
from broker.janitor import keep_house
from broker.log import Log
from broker.settings import BrokerSettings, load_settings
from broker.settlement import DeadNote, Settlement
from cli.__main__ import main
from gateway.settings import GatewaySettings
from tests.gateway.stack import EchoWorker, running_gateway, running_worker
from tests.privacy.log_of_texts import SECRET, TAG, accept, answered, everything, lag, read, request
from tests.servers import RedisServer, eventually

GIVEN_UP = DeadNote("crashed", "3 workers took it and none finished", 3, "w")


@pytest.fixture
def without_texts(settings: BrokerSettings) -> BrokerSettings:
    return settings.model_copy(update={"store_text": "none"})


@pytest.fixture
async def log(redis: Redis, without_texts: BrokerSettings) -> Log:
    await ensure_groups(redis, TAG)
    return Log(redis, without_texts)


async def test_without_stored_texts_a_text_is_gone_with_its_answer(log, redis):
    await accept(log, request(), request())
    await log.settle(TAG, [answered(entry) for entry in await read(redis)])
    assert SECRET not in await everything(redis)
    assert await redis.xlen(TAG.results) == 2
    assert await lag(redis) == 0
    await accept(log, request())
    assert await lag(redis) == 1


async def test_without_stored_texts_a_dead_letter_has_none_and_cannot_be_sent_again(log, redis):
    await accept(log, request())
    await redis.xadd(TAG.requests, {"text": b"\xff" + SECRET.encode()})
    readable, damaged = await read(redis)
    malformed = DeadNote("malformed", "a field is not UTF-8", 1, "w")
    await log.settle(TAG, [answered(readable, GIVEN_UP), Settlement(damaged[0], dead=malformed)])
    assert await redis.xlen(TAG.dead) == 2
    assert SECRET not in await everything(redis)
    for dead_id, _ in await redis.xrange(TAG.dead):
        assert await log.redrive(TAG, dead_id.decode()) is None


@pytest.mark.parametrize("seed", range(6))
async def test_the_lag_stays_known_and_right_whatever_order_texts_go_in(log, redis, without_texts, seed):
    draw = random.Random(seed)
    print(f"seed {seed}")
    held, undelivered = [], 0
    for _ in range(120):
        match draw.choice(["accept", "accept", "read", "settle", "settle", "tidy"]):
            case "accept":
                count = draw.randint(1, 3)
                await accept(log, *(request() for _ in range(count)))
                undelivered += count
            case "read" if undelivered:
                taken = await read(redis, draw.randint(1, 4), draw.choice(["a", "b"]))
                held += taken
                undelivered -= len(taken)
            case "settle" if held:
                draw.shuffle(held)
                count = draw.randint(1, 4)
                await log.settle(TAG, [answered(entry) for entry in held[:count]])
                held = held[count:]
            case "tidy":
                await keep_house(redis, without_texts, TAG, "w")
        assert await lag(redis) == undelivered
    stored = {entry_id.decode() for entry_id, _ in await redis.xrange(TAG.requests)}
    assert {entry_id for entry_id, _ in held} <= stored


async def test_a_text_that_stayed_as_the_last_delivered_goes_with_the_next_delivery(log, redis, without_texts):
    await accept(log, request("an older one that takes long"), request())
    _, last = await read(redis)
    await log.settle(TAG, [answered(last)])
    assert await redis.xlen(TAG.requests) == 2
    await accept(log, request("the next"))
    await read(redis)
    await keep_house(redis, without_texts, TAG, "w")
    assert SECRET not in await everything(redis)
    assert await lag(redis) == 0


def test_a_reader_that_needs_texts_says_why_it_cannot_work(monkeypatch):
    monkeypatch.setenv("OBSERVA_STORE_TEXT", "none")
    with pytest.raises(SettingsError, match=r"OBSERVA_STORE_TEXT=none removes.*set OBSERVA_STORE_TEXT=retention"):
        load_settings(BrokerSettings).need_texts("the archive")


def test_just_log_says_why_it_cannot_work(monkeypatch, server: RedisServer, capsys):
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    monkeypatch.setenv("OBSERVA_STORE_TEXT", "none")
    assert main(["log"]) == 2
    assert "OBSERVA_STORE_TEXT=none" in capsys.readouterr().err


async def test_requests_and_dead_letters_hold_a_text_for_its_hours_and_no_longer(redis, settings):
    hours = 2.0
    settings = settings.model_copy(update={"text_retention_h": hours})
    await ensure_groups(redis, TAG)
    log = Log(redis, settings)
    now_ms = int(time.time() * 1000)
    old, young = now_ms - int((hours + 0.1) * 3_600_000), now_ms - int((hours - 0.1) * 3_600_000)
    for entry_ms, text in ((old, f"old {SECRET}"), (young, "young one")):
        await redis.xadd(TAG.requests, request(text).to_fields(), id=f"{entry_ms}-1")
        await redis.xadd(TAG.dead, {"entry": f'["text","{text}"]', "entry_id": f"{entry_ms}-1"}, id=f"{entry_ms}-1")
    await log.settle(TAG, [answered(entry) for entry in await read(redis)])
    await keep_house(redis, settings, TAG, "w")
    held = await everything(redis)
    assert SECRET not in held
    assert held.count("young one") == 2
    assert await lag(redis) == 0


async def test_nothing_but_requests_and_dead_letters_ever_holds_a_text(redis, settings):
    await ensure_groups(redis, TAG)
    log = Log(redis, settings)
    await accept(log, request(true_label="positive", reply_to="gw"))
    (entry,) = await read(redis)
    await log.settle(TAG, [answered(entry, GIVEN_UP)])
    await redis.delete(TAG.requests, TAG.dead)
    assert SECRET not in await everything(redis)


@pytest.fixture
def operators_module(monkeypatch):
    module = types.ModuleType("operators_redaction")

    def mask(text):
        if "RAISE" in text:
            raise RuntimeError(text)
        return "".join("0" if character.isdigit() else character for character in text)

    module.mask = mask
    module.nothing = lambda _text: ""
    monkeypatch.setitem(sys.modules, "operators_redaction", module)


@pytest.mark.usefixtures("operators_module")
async def test_an_operators_function_changes_a_text_before_anything_keeps_it(server, caplog):
    settings = GatewaySettings(
        redis_url=server.url, redis_password_file=None, gateway_drain_s=0, redact="operators_redaction:mask"
    )
    async with running_worker(EchoWorker(settings)) as worker, running_gateway(settings) as gateway:
        await eventually(lambda: worker.redis.exists("observa:served"), "the worker is announced")
        answer = await gateway.client.post("/predict", json={"text": "call 555-1234"})
        assert answer.status_code == 200
        assert [seen.text for seen in worker.seen] == ["call 000-0000"]
        await Explanations(worker.redis, settings).announce(TAG, "an explainer")
        explained = await gateway.client.post("/v1/explanations", json={"text": "call 555-1234"})
        assert explained.status_code == 202
        ((_, asked),) = await worker.redis.xrange(TAG.explain)
        assert asked[b"text"] == b"call 000-0000"
        refused = await gateway.client.post("/predict", json={"text": f"RAISE {SECRET}"})
        assert refused.status_code == 500
        assert SECRET not in refused.text + caplog.text
        assert SECRET not in await everything(worker.redis)


@pytest.mark.usefixtures("operators_module")
@pytest.mark.parametrize(
    "name", ["operators_redaction", "operators_redaction:missing", "no_such_module_here:f", ":", "a b:c"]
)
def test_a_redaction_that_cannot_be_found_stops_the_start_in_one_line(monkeypatch, name):
    monkeypatch.setenv("OBSERVA_REDACT", name)
    with pytest.raises(SettingsError, match=r"OBSERVA_REDACT: .*must be MODULE:FUNCTION"):
        load_settings(BrokerSettings)

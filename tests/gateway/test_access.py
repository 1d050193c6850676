"""Who gets in, where API keys are asked for."""

import asyncio
import logging

import httpx
import pytest

from broker.access import create_key, read_keys, revoke_key
from broker.errors import ObservaError, SettingsError
from broker.streams import KEYS, Tag
from gateway.access import INTERNAL, OPEN, SCOPES, scope_for
from gateway.app import create_app, prepare
from gateway.settings import GatewaySettings
from tests.gateway.stack import entries, running_gateway, running_stack
from tests.servers import eventually, free_port

TAG = Tag("sentiment")
ALL = ("predict", "feedback", "admin")


def bearer(shown: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {shown}"}


async def make(redis, caller="anna", scopes=("predict", "feedback"), lifetime_s=None):
    return await create_key(redis, caller, scopes, lifetime_s)


@pytest.fixture
async def guarded(redis, gateway_settings):
    """A gateway that asks for keys; the key of one caller who may do everything."""
    key, shown = await make(redis, "root", ALL)
    async with running_stack(gateway_settings(gateway_auth="keys")) as (gateway, _):
        gateway.client.headers["Authorization"] = f"Bearer {shown}"
        yield gateway, key, shown


async def test_a_valid_key_opens_and_its_absence_does_not(guarded):
    gateway, _, shown = guarded
    assert (await gateway.client.post("/predict", json={"text": "a joy"})).status_code == 200
    async with httpx.AsyncClient(base_url=gateway.url) as nobody:
        refused = await nobody.post("/predict", json={"text": "a joy"})
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="observa"'
        assert refused.headers["Content-Type"] == "application/problem+json"
        lower = {"Authorization": f"bearer {shown}"}
        assert (await nobody.post("/predict", json={"text": "a joy"}, headers=lower)).status_code == 200


async def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(guarded, redis):
    gateway, key, shown = guarded
    _, expired = await make(redis, "past", lifetime_s=0)
    revoked_key, revoked = await make(redis, "gone")
    await revoke_key(redis, revoked_key.id)
    wrong_secret = f"observa_{key.id}.{'A' * 43}"
    unknown = f"observa_{'0' * 12}.{shown.partition('.')[2]}"
    tries = [
        {},
        *(bearer(text) for text in ("-", "x", shown[:-1], wrong_secret, unknown, expired, revoked, "ü" * 9000)),
    ]
    tries += [{"Authorization": shown}, {"Authorization": f"Basic {shown}"}, {"X-API-Key": shown}]
    answers = set()
    async with httpx.AsyncClient(base_url=gateway.url) as nobody:
        for headers in tries:
            encoded = {name: value.encode("latin-1") for name, value in headers.items()}
            answer = await nobody.post(f"/predict?key={shown}", json={"text": "a joy"}, headers=encoded)
            told = {name: value for name, value in answer.headers.items() if name != "date"}
            answers.add((answer.status_code, answer.content, tuple(sorted(told.items()))))
    assert [status for status, _, _ in answers] == [401]
    assert await entries(redis, TAG) == 0


async def test_a_key_opens_only_what_its_scopes_name(guarded, redis):
    gateway, _, _ = guarded
    _, reader = await make(redis, "reader", ["predict"])
    _, judge = await make(redis, "root", ["feedback"])
    first = (await gateway.client.post("/predict", json={"text": "a joy"})).json()["id"]
    label = {"id": first, "label": "positive"}

    async def status(shown, method, path, **more):
        return (await gateway.client.request(method, path, headers=bearer(shown), **more)).status_code

    await eventually(lambda: _is(status(judge, "POST", "/feedback", json=label), {200, 202}), "the keys are known")
    for method, path, more in [
        ("POST", "/predict", {"json": {"text": "x"}}),
        ("GET", "/v1/models", {}),
        ("GET", f"/v1/predictions/{first}", {}),
        ("POST", "/v2/models/sentiment/infer", {"json": {}}),
    ]:
        assert await status(judge, method, path, **more) == 403, path
        assert await status(reader, method, path, **more) != 403, path
    assert await status(reader, "POST", "/feedback", json=label) == 403
    for method, path in [
        ("GET", "/v1/streams"),
        ("GET", "/v1/alerts"),
        ("POST", "/v1/dead/1-1/redrive"),
        ("GET", "/x"),
    ]:
        assert await status(reader, method, path) == 403, path
        assert await status(judge, method, path) == 403, path
    refused = await gateway.client.get("/v1/streams", headers=bearer(reader))
    assert refused.json()["code"] == "forbidden"


async def _is(found, wanted):
    return await found in wanted


async def test_health_and_documentation_need_no_key(guarded):
    gateway, _, _ = guarded
    async with httpx.AsyncClient(base_url=gateway.url) as nobody:
        for path in (
            "/healthz",
            "/readyz",
            "/v2/health/live",
            "/v2/health/ready",
            "/metrics",
            "/docs",
            "/openapi.json",
        ):
            assert (await nobody.get(path)).status_code == 200, path
        assert (await nobody.get("/openapi.json")).json()["security"] == [{"key": []}]


async def test_a_revoked_key_is_refused_within_seconds_and_its_successor_is_not(guarded, redis):
    gateway, _, _ = guarded
    old_key, old = await make(redis, "anna")
    _, new = await make(redis, "anna")

    async def refused(shown):
        answer = await gateway.client.post("/predict", json={"text": "a joy"}, headers=bearer(shown))
        return answer.status_code == 401

    async def both_open():
        return not await refused(old) and not await refused(new)

    await eventually(both_open, "both keys open", 5)
    await revoke_key(redis, old_key.id)
    await eventually(lambda: refused(old), "the old key is refused", 5)
    assert not await refused(new)


async def test_an_expired_key_takes_no_place_of_the_two_that_a_caller_may_have(redis):
    for lifetime_s in (0, 0, None, None):
        await make(redis, lifetime_s=lifetime_s)
    with pytest.raises(ObservaError, match="anna has 2 active keys"):
        await make(redis)


async def test_when_a_key_was_revoked_is_not_changed_by_revoking_it_again(redis):
    key, _ = await make(redis)
    revoked = key.model_copy(update={"revoked_s": 1})
    await redis.hset(KEYS, key.id, revoked.model_dump_json())
    assert await revoke_key(redis, key.id) == revoked
    assert await read_keys(redis) == {key.id: revoked}


async def test_a_key_that_is_stored_under_another_ones_id_is_not_read(redis):
    (first, _), (second, _) = await make(redis), await make(redis, "bert")
    await redis.hset(KEYS, first.id, second.model_dump_json())
    await redis.hdel(KEYS, second.id)
    assert await read_keys(redis) == {}


async def test_keys_hold_when_the_log_is_emptied(guarded, redis):
    gateway, _, _ = guarded
    await redis.flushall()
    await asyncio.sleep(2.5)  # two refreshes, and nothing to be seen of them from here

    async def serves():
        return (await gateway.client.post("/predict", json={"text": "a joy"})).status_code == 200

    await eventually(serves, "the same key opens")


async def test_each_caller_has_idempotency_keys_of_its_own_and_keeps_them_with_a_new_api_key(guarded, redis):
    gateway, _, shown = guarded
    _, successor = await make(redis, "root", ALL)
    _, other = await make(redis, "anna")

    async def send(key, text):
        headers = bearer(key) | {"Idempotency-Key": "same"}
        return await gateway.client.post("/predict", json={"text": text}, headers=headers)

    mine = (await send(shown, "a joy")).json()["id"]
    await eventually(lambda: _is(_status(send(successor, "a joy")), {200}), "the new keys are known")
    assert (await send(successor, "a joy")).json()["id"] == mine
    theirs = await send(other, "another text")
    assert theirs.status_code == 200
    assert theirs.json()["id"] != mine


async def _status(sending):
    return (await sending).status_code


async def test_no_key_appears_in_a_log_or_a_metric(guarded, caplog):
    caplog.set_level(logging.DEBUG)
    gateway, key, shown = guarded
    await gateway.client.post("/predict", json={"text": "a joy"})
    await gateway.client.post("/predict", json={"text": "a joy"}, headers=bearer(shown + "x"))
    numbers = (await gateway.client.get("/metrics")).text
    for secret in (shown, shown.partition(".")[2], key.sha256, key.id):
        assert secret not in caplog.text
        assert secret not in numbers
    assert 'observa_requests_total{model="other",status="401"}' in numbers


async def test_every_route_has_a_scope_on_purpose(gateway_settings):
    app = create_app(gateway_settings())
    named = [*OPEN, *(place for places in SCOPES.values() for place in places)]
    for route in app.routes:
        assert any(route.path == place or route.path.startswith(f"{place}/") for place in named), route.path
    assert scope_for("/v1/deadly") == "admin"


@pytest.mark.parametrize(
    ("values", "auth", "internal"),
    [
        ({}, "none", None),
        ({"gateway_host": "localhost"}, "none", None),
        ({"gateway_host": "::1"}, "none", None),
        ({"gateway_auth": "keys"}, "keys", None),
        ({"gateway_host": "0.0.0.0"}, "keys", 9000),
        ({"gateway_host": "10.1.2.3", "gateway_auth": "none"}, "none", 9000),
        ({"gateway_host": "127.0.0.2"}, "none", None),
        ({"gateway_host": "gateway.example"}, "keys", 9000),
        ({"gateway_internal_port": 9100}, "none", 9100),
    ],
)
def test_keys_and_an_internal_port_come_with_an_address_that_others_reach(values, auth, internal):
    settings = GatewaySettings(**values)
    assert (settings.auth, settings.internal_port) == (auth, internal)


async def test_an_open_address_without_keys_is_refused_with_the_command_that_helps(redis, gateway_settings):
    settings = gateway_settings(gateway_host="0.0.0.0")
    with pytest.raises(SettingsError, match=r"^[^\n]*just keys create NAME[^\n]*OBSERVA_GATEWAY_AUTH=none$"):
        await prepare(settings)
    await make(redis, lifetime_s=0)
    with pytest.raises(SettingsError):
        await prepare(settings)
    await prepare(gateway_settings(gateway_host="0.0.0.0", gateway_auth="none"))
    await make(redis)
    await prepare(settings)


async def test_metrics_admin_and_details_are_on_the_internal_port_alone(redis, gateway_settings):
    settings = gateway_settings(gateway_port=0, gateway_internal_port=free_port(), gateway_auth="keys")
    _, root = await make(redis, "root", ALL)
    async with running_gateway(settings) as gateway, httpx.AsyncClient(headers=bearer(root)) as client:
        internal = f"http://127.0.0.1:{settings.internal_port}"
        for path in INTERNAL:
            outside = await client.get(gateway.url + path)
            assert outside.status_code == 404, path
            assert outside.json()["code"] == "not_found"
            inside = await client.get(internal + path)
            assert inside.status_code == (404 if path == "/v1/dead" else 200), path
        client.headers.pop("Authorization")
        assert (await client.get(f"{internal}/metrics")).status_code == 200
        assert (await client.get(f"{internal}/v1/streams")).status_code == 401
        for health in ("/healthz", "/v2/health/live"):
            assert (await client.get(gateway.url + health)).status_code == 200
        for host, status in {"attacker.example": 421, "10.0.0.7:9000": 200, "[fd00::1]:9000": 200, "": 421}.items():
            assert (await client.get(f"{internal}/metrics", headers={"Host": host})).status_code == status, host


def test_one_port_cannot_be_both(gateway_settings):
    port = free_port()
    with pytest.raises(ValueError, match="both take port"):
        gateway_settings(gateway_port=port, gateway_internal_port=port)

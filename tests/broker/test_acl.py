"""Each role has a user that may do what its code does, and nothing else: on real servers, with the real services."""

import signal

import httpx
import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from broker.connection import check_server, connect
from broker.errors import BrokerUnavailableError
from broker.keys import TABLE, find_key
from broker.manifest import Pointer
from broker.settings import BrokerSettings
from broker.streams import ARCHIVE, KEYS, WORKERS, Tag, shadow_group
from cli.__main__ import main
from deploy.redis.__main__ import ROLES, make_users
from tests.broker.secured import SecuredServer
from tests.live.services import Services, make_model
from tests.servers import PROGRAMS, wait_until

TAG = Tag("strange")
ROOT = "a-password-of-the-test"
# Sent by the client library when it connects, where Redis 7.0 knows no such command; a refusal changes nothing.
UNNEEDED = {"client|setinfo"}


@pytest.fixture(scope="module", params=PROGRAMS)
def secured(request, tmp_path_factory):
    """A server that knows the roles, and a user of the test's own that may do all."""
    program = PROGRAMS[request.param]
    folder = tmp_path_factory.mktemp("acl")
    users = make_users(folder)
    users.write_text(users.read_text() + f"user root on >{ROOT} ~* &* +@all\n")
    server = SecuredServer(folder, program, f"redis://root:{ROOT}@127.0.0.1:{{port}}/0")
    server.start("--port", str(server.port), "--aclfile", str(users))
    yield server
    server.kill()


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_scripts_wrote_outlives_the_server(name, tmp_path):
    """Redis 7.0 runs what is in its append-only file as the default user, and leaves out what that user may not do."""
    users = make_users(tmp_path)
    users.write_text(users.read_text() + f"user root on >{ROOT} ~* &* +@all\n")
    server = SecuredServer(tmp_path, PROGRAMS[name], f"redis://root:{ROOT}@127.0.0.1:{{port}}/0")
    options = ("--port", str(server.port), "--aclfile", str(users))
    server.start(*options)
    with server.look() as look:
        look.eval(
            "redis.call('XADD', KEYS[1], '*', 'text', 'x'); redis.call('INCR', KEYS[2])", 2, TAG.requests, TAG.backlog
        )
        server.kill()
        server.start(*options)
        try:
            assert (look.xlen(TAG.requests), look.get(TAG.backlog)) == (1, "1")
        finally:
            server.kill()


def as_role(server: SecuredServer, role: str) -> dict[str, object]:
    return {
        "OBSERVA_REDIS_URL": server.url,
        "OBSERVA_REDIS_USER": role,
        "OBSERVA_REDIS_PASSWORD_FILE": server.folder / f"{role}.password",
    }


@pytest.fixture
def services(secured, tmp_path):
    with secured.look() as look:
        look.flushall()
        look.execute_command("ACL", "LOG", "RESET")
    services = Services(
        secured, tmp_path, claim_ms=1000, model=TAG.model, archive=tmp_path / "archive", archive_flush_s=1
    )
    make_model(services.models, TAG.model)
    make_model(services.models, TAG.model, version="2")
    pointer = Pointer(version="1", generation=1, shadows={"2": 1.0})
    (services.models / TAG.model / "live.json").write_text(pointer.model_dump_json())
    yield services
    services.stop()


@pytest.mark.live
@pytest.mark.timeout(300)
def test_the_whole_flow_needs_nothing_that_its_users_may_not_do(services, secured, monkeypatch, capsys):
    for name, value in as_role(secured, "operator").items():
        monkeypatch.setenv(name, str(value))
    assert main(["keys", "create", "anna", "--scopes", "predict,feedback,admin"]) == 0
    key = capsys.readouterr().out.strip()
    monkeypatch.setenv("OBSERVA_MODELS", str(services.models))
    victim = services.worker(**as_role(secured, "worker"))
    gateway = services.gateway(**as_role(secured, "gateway"), OBSERVA_GATEWAY_AUTH="keys")
    monitor = services.monitor(**as_role(secured, "monitor"))
    with secured.look() as look, httpx.Client(base_url=gateway.url, timeout=40) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        first = _classify_and_judge(client)
        _kill_with_work_in_hand(client, look, victim)
        services.worker(**as_role(secured, "worker"))
        wait_until(lambda: look.xpending(TAG.requests, WORKERS)["pending"] == 0, "another took the work over")
        _bury_and_redrive(client, look)
        for path in ("/v1/models", "/v1/streams", "/v1/alerts", "/v2/models/strange", "/readyz"):
            assert client.get(path).status_code == 200, path
        wait_unless_refused(
            look, lambda: look.hget(TAG.key("monitor"), "results"), "the monitor has stored its position"
        )
        wait_unless_refused(look, lambda: look.get(TAG.backlog) == "0", "the janitor has set the counter")
        wait_unless_refused(look, lambda: "shadow" in roles(look), "the shadow has answered")
        assert main(["shadow", TAG.model, "2", "--off"]) == 0
        assert main(["canary", TAG.model]) == 0
        assert httpx.get(f"{monitor.url}/report").status_code == 200
        assert httpx.get(f"{monitor.url}/compare?model={TAG.model}&a=1&b=2", timeout=30).status_code == 200
        assert main(["log", "--model", TAG.model]) == 0
        assert main(["dead", "--model", TAG.model]) == 0
        assert main(["forget", first]) == 0
        services.archive(**as_role(secured, "archive"))
        wait_unless_refused(look, lambda: _is_archived(look), "the archive holds the log")
        wait_unless_refused(look, lambda: look.exists(TAG.key("kept")), "it is said how long the log is kept")
        _find_every_key_in_the_table(look)
        for process in services.processes:
            if process.alive:
                process.terminate()
        assert refusals(look) == []


def _find_every_key_in_the_table(look) -> None:
    held = {}
    for key in look.scan_iter(count=1000):
        found = find_key(key)
        assert found is not None, key
        assert look.type(key) in {found[0].kind, "none"}, key
        held[found[0].name] = key
    asked_for = {"explain", "explained:ID", "explainer", "explanations", "replay:RUN", "flush"}
    passing = {"replies:GATEWAY", "suspects:ENTRY", "waiting"}
    losses = {"gaps", "unanswered", "alerts"}
    assert {key.name for key in TABLE} - held.keys() <= asked_for | passing | losses


def _is_archived(look) -> bool:
    groups = [group for group in look.xinfo_groups(TAG.results) if group["name"] == ARCHIVE]
    return bool(groups) and groups[0]["last-delivered-id"] != "0-0" and groups[0]["lag"] == 0


def refusals(look) -> list[tuple[str, str, str]]:
    """Who was refused what, and by which rule."""
    return [(e["username"], e["reason"], e["object"]) for e in look.acl_log() if e["object"] not in UNNEEDED]


def roles(look) -> set[str]:
    return {fields["role"] for _, fields in look.xrange(TAG.results)}


def wait_unless_refused(look, condition, what: str) -> None:
    def is_so() -> object:
        assert refusals(look) == []
        return condition()

    wait_until(is_so, what)


def _classify_and_judge(client: httpx.Client) -> str:
    """Return the id of a prediction that is done with."""
    first = client.post("/predict", json={"text": "good", "true_label": "positive"}).json()["id"]
    assert client.post("/feedback", json={"id": first, "label": "negative"}).status_code == 202
    headers = {"Idempotency-Key": "once"}
    sent = [client.post("/predict", json={"texts": ["good", "bad"]}, headers=headers) for _ in range(2)]
    assert sent[0].json() == sent[1].json()
    later = client.post("/predict", json={"text": "good SLEEP-300"}, headers={"Prefer": "respond-async"})
    parked = client.post("/feedback", json={"id": later.json()["id"], "label": "positive"})
    assert parked.json()["status"] == "parked"
    wait_until(lambda: client.get(later.headers["Location"]).status_code == 200, "the later one is answered")
    return str(first)


def _kill_with_work_in_hand(client: httpx.Client, look, victim) -> None:
    asked = client.post("/predict", json={"text": "good SLEEP-2000"}, headers={"Prefer": "respond-async"})
    assert asked.status_code == 202
    wait_until(lambda: look.xpending(TAG.requests, WORKERS)["pending"] == 1, "the worker holds it")
    victim.signal(signal.SIGKILL)


def _bury_and_redrive(client: httpx.Client, look) -> None:
    assert client.post("/predict", json={"text": "RAISE"}).status_code == 502
    [(dead, _)] = look.xrange(TAG.dead)
    assert client.post(f"/v1/dead/{dead}/redrive", json={}).status_code == 202
    wait_until(lambda: look.xlen(TAG.dead) == 1 and look.xrange(TAG.dead)[0][0] != dead, "it has died again")


RARE = [  # what the flow above does not come by
    ("gateway", "XADD", TAG.requests, "*", "text", "x"),
    ("gateway", "WAIT", "1", "1000"),  # where a replica must have what is accepted
    ("gateway", "INCRBY", TAG.backlog, "0"),
    ("gateway", "CLUSTER", "SLOTS"),
    ("worker", "WAIT", "1", "1000"),
    ("worker", "INCRBY", TAG.backlog, "0"),
    ("operator", "WAIT", "1", "1000"),
    ("monitor", "ASKING"),
    ("archive", "CLUSTER", "SLOTS"),
    ("worker", "UNLINK", TAG.joins(1), TAG.joins(2)),
    ("worker", "HDEL", TAG.joined, "1"),
    ("worker", "HSCAN", TAG.waiting, "0"),
    ("worker", "HINCRBY", TAG.unanswered, "requests", "1"),
    ("gateway", "HGET", TAG.waiting, "x"),
    ("worker", "XDEL", TAG.requests, "1-1"),  # where texts are not stored
    ("worker", "XTRIM", TAG.requests, "MINID", "=", "1-1"),
    ("worker", "XGROUP", "DELCONSUMER", TAG.requests, WORKERS, "gone"),
    # Groups of shadows that nobody wants are the janitor's to remove; a rule cannot tell one group from another.
    ("worker", "XGROUP", "DESTROY", TAG.requests, shadow_group("2")),
    ("worker", "XGROUP", "SETID", TAG.requests, shadow_group("2"), "1-1", "ENTRIESREAD", "1"),
    ("worker", "XINFO", "STREAM", TAG.requests),
    ("worker", "ZREMRANGEBYSCORE", "observa:served", "0", "1"),
    ("worker", "XREAD", "BLOCK", "1000", "STREAMS", "observa:models", "$"),
    ("gateway", "XINFO", "CONSUMERS", TAG.requests, WORKERS),
    ("gateway", "SET", TAG.explained("x"), "{}"),
    ("gateway", "EVALSHA", "0" * 40, "3", TAG.explained("x"), TAG.explain, TAG.explainer),  # asks for an explanation
    ("explainer", "XREADGROUP", "GROUP", "explainers", "me", "STREAMS", TAG.explain, ">"),
    ("explainer", "XAUTOCLAIM", TAG.explain, "explainers", "me", "1", "0"),
    ("explainer", "XADD", TAG.explanations, "MAXLEN", "~", "1000", "*", "id", "x"),
    ("explainer", "SET", TAG.explained("x"), "{}", "XX", "KEEPTTL"),
    ("explainer", "SET", TAG.explainer, "me", "EX", "15"),
    ("monitor", "XADD", TAG.alerts, "MAXLEN", "~", "1000", "*", "kind", "began"),
    ("trainer", "HSET", "observa:{strange}:versions", "live", "2"),
    ("trainer", "XADD", "observa:models", "*", "model", "strange"),
    ("trainer", "XRANGE", TAG.feedback, "-", "+"),
    ("trainer", "XRANGE", TAG.requests, "-", "+"),  # the texts that labels came for
    ("archive", "HINCRBY", TAG.gaps, "results/archive", "1"),
    ("archive", "SET", TAG.born, "mark", "NX"),
    ("operator", "DEL", TAG.results),
    ("operator", "HSET", KEYS, "id", "x"),
    ("operator", "XREVRANGE", TAG.results, "+", "-", "COUNT", "1"),
    ("operator", "XGROUP", "DESTROY", TAG.requests, shadow_group("2")),
    ("exporter", "XINFO", "GROUPS", TAG.requests),
    ("exporter", "XPENDING", TAG.requests, WORKERS),
]
NEVER = [  # by nobody
    *((command,) for command in ("SHUTDOWN", "SAVE", "MONITOR", "FLUSHALL", "FLUSHDB")),
    ("KEYS", "*"),
    ("CONFIG", "SET", "dir", "/tmp"),
    ("DEBUG", "SLEEP", "1"),
    ("EVAL", "return 1", "0"),
    ("SCRIPT", "FLUSH"),
    *((command, "LIST") for command in ("FUNCTION", "ACL", "MODULE")),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("MIGRATE", "127.0.0.1", "1", "observa:keys", "0", "1"),
    ("SUBSCRIBE", "x"),
    ("SWAPDB", "0", "1"),
    ("GET", "somebody-elses-key"),
    ("SET", "somebody-elses-key", "x"),
]
OUTSIDE_THE_ROLE = [
    ("gateway", "HSET", KEYS, "id", "a key of my own making"),
    *((role, "CONFIG", "GET", "dir") for role in ROLES if role != "operator"),
    *((role, "BGREWRITEAOF") for role in ROLES if role != "operator"),
    *((role, "CLIENT", "KILL", "TYPE", "normal") for role in ROLES if role != "sentinel"),
    *((role, "SLAVEOF", "127.0.0.1", "1") for role in ROLES if role != "sentinel"),
    ("gateway", "DEL", TAG.requests),
    ("gateway", "XTRIM", TAG.requests, "MAXLEN", "0"),
    ("gateway", "XADD", TAG.results, "*", "id", "x"),
    ("gateway", "XACK", TAG.requests, WORKERS, "1-1"),
    ("gateway", "XGROUP", "DESTROY", TAG.requests, WORKERS),
    ("worker", "HGETALL", KEYS),
    ("worker", "GET", TAG.idem("x")),
    ("worker", "DEL", TAG.requests),
    ("worker", "XADD", "observa:models", "*", "model", "x"),
    ("explainer", "XRANGE", TAG.requests, "-", "+"),
    ("explainer", "HGETALL", KEYS),
    ("monitor", "XADD", TAG.requests, "*", "text", "x"),
    ("monitor", "HGETALL", KEYS),
    ("monitor", "XRANGE", TAG.dead, "-", "+"),
    ("monitor", "HSET", "observa:{strange}:versions", "live", "2"),
    ("trainer", "XRANGE", TAG.dead, "-", "+"),
    ("archive", "XADD", TAG.requests, "*", "text", "x"),
    ("archive", "XTRIM", TAG.results, "MAXLEN", "0"),
    ("archive", "SET", TAG.lease("janitor"), "me"),
    ("archive", "HGETALL", KEYS),
    ("trainer", "XADD", TAG.requests, "*", "text", "x"),
    ("trainer", "HGETALL", KEYS),
    ("exporter", "XRANGE", TAG.requests, "-", "+"),
    ("exporter", "XINFO", "STREAM", TAG.requests, "FULL"),
    ("exporter", "XADD", TAG.requests, "*", "text", "x"),
    ("exporter", "HGETALL", KEYS),
]


@pytest.mark.parametrize("wanted", RARE, ids=" ".join)
def test_a_role_may_do_what_its_rarer_duties_take(secured, wanted):
    role, *command = wanted
    with secured.look() as look:
        assert look.execute_command("ACL", "DRYRUN", role, *command) == "OK"


def test_no_role_may_do_what_would_harm_all(secured):
    with secured.look() as look:
        allowed = [
            (role, command)
            for role in ROLES
            for command in NEVER
            if look.execute_command("ACL", "DRYRUN", role, *command) == "OK"
        ]
    assert allowed == []


@pytest.mark.parametrize("wanted", OUTSIDE_THE_ROLE, ids=" ".join)
def test_a_role_may_not_do_the_work_of_another(secured, wanted):
    role, *command = wanted
    with secured.look() as look:
        assert "no permission" in look.execute_command("ACL", "DRYRUN", role, *command)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_really_refused_and_a_script_gets_no_further(secured, role):
    url = secured.url.replace("//", f"//{role}:{(secured.folder / f'{role}.password').read_text().strip()}@")
    with SecuredServer(secured.folder, secured.program, url).look() as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.flushall()
        if role in {"gateway", "worker", "monitor"}:
            digest = client.script_load(f"return redis.call('HGETALL', '{'other' if role == 'gateway' else KEYS}')")
            with pytest.raises(ResponseError, match=r"(?i)access.* key"):
                client.evalsha(digest, 0)


def test_nobody_is_let_in_without_a_name(secured):
    with (
        SecuredServer(secured.folder, secured.program, secured.url).look() as client,
        pytest.raises(AuthenticationError),
    ):
        client.ping()


async def test_a_user_who_may_not_look_at_the_server_is_told_in_one_line(secured):
    with secured.look() as look:
        look.execute_command("ACL", "SETUSER", "blind", "on", ">x", "+ping", "+client|setname")
    settings = BrokerSettings(redis_url=secured.url.replace("//", "//blind:x@"))
    redis = connect(settings, "test")
    with pytest.raises(BrokerUnavailableError, match="OBSERVA_REDIS_USER") as told:
        await check_server(redis, settings)
    assert "\n" not in str(told.value)
    await redis.aclose()

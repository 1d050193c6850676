"""``keys``: made once, listed without a secret, revoked; and used by the other commands from a file."""

import asyncio
import re

import pytest

from gateway.settings import GatewaySettings
from tests.cli.commands import Just
from tests.gateway.stack import running_stack
from tests.servers import RedisServer

pytestmark = pytest.mark.usefixtures("log_of_commands")


def test_a_key_is_shown_once_and_listed_without_its_secret(just: Just) -> None:
    status, out, err = just("keys", "create", "anna", "--scopes", "admin,predict", "--expires", "90d")
    assert status == 0
    shown = re.fullmatch(r"observa_([0-9a-f]{12})\.([A-Za-z0-9_-]{43})\n", out)
    assert shown
    assert "predict,admin, until 20" in err
    assert shown[2] not in err
    status, out, _ = just("keys", "list")
    assert status == 0
    [head, line] = out.splitlines()
    assert head.split() == ["ID", "NAME", "STATE", "CREATED", "EXPIRES", "SCOPES"]
    assert line.split()[:3] == [shown[1], "anna", "active"]
    assert line.split()[-1] == "predict,admin"
    assert shown[2] not in out


def test_a_revoked_key_stays_listed(just: Just) -> None:
    just("keys", "create", "anna")
    identity = just("keys")[1].splitlines()[1].split()[0]
    assert just("keys", "revoke", identity)[:2] == (0, f"key {identity} of anna opens nothing any more\n")
    assert just("keys", "revoke", identity)[0] == 0
    assert just("keys")[1].splitlines()[1].split()[:3] == [identity, "anna", "revoked"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("revoke", "000000000000"), "observa keys: there is no such key; their ids: just keys list\n"),
        (("create", "Anna Smith"), "observa keys: a caller's name is 1 to 64 lower-case letters"),
    ],
)
def test_a_mistake_is_one_line(just: Just, arguments: tuple[str, ...], said: str) -> None:
    status, out, err = just("keys", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.parametrize("wrong", [("--scopes", "root"), ("--scopes", ""), ("--expires", "soon"), ("--expires", "0d")])
def test_what_is_no_scope_or_time_is_refused(just: Just, wrong: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        just("keys", "create", "anna", *wrong)


async def test_commands_show_the_key_from_a_file(
    just: Just, server: RedisServer, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await asyncio.to_thread(just, "keys", "create", "anna"))[1]
    settings = GatewaySettings(redis_url=server.url, redis_password_file=None, gateway_drain_s=0, gateway_auth="keys")
    async with running_stack(settings) as (gateway, _):
        monkeypatch.setenv("OBSERVA_GATEWAY_URL", gateway.url)
        status, _, err = await asyncio.to_thread(just, "predict", "a joy")
        assert status == 2
        assert "OBSERVA_API_KEY_FILE" in err
        (tmp_path / "key").write_text(key)
        monkeypatch.setenv("OBSERVA_API_KEY_FILE", str(tmp_path / "key"))
        status, out, _ = await asyncio.to_thread(just, "predict", "a joy")
        assert status == 0
        assert "positive" in out

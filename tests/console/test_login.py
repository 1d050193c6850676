"""The console behind a login, at a provider of another make in its own process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.errors import SettingsError
from console.guard import Guard
from console.login import may_administer, with_login
from console.settings import ConsoleSettings
from tests.live.services import ROOT, Process
from tests.servers import free_port

HTML = {"accept": "text/html"}
SITE = "http://127.0.0.1:7860"


@dataclass
class Shown:
    """What a Gradio request has around it."""

    request: Request


def who(request: Request) -> Response:
    return JSONResponse({"admin": may_administer(Shown(request))})


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("provider") / "who.json"


@pytest.fixture(scope="module")
def provider(claims: Path) -> Iterator[Process]:
    pytest.importorskip("pyop", reason="the test's provider is missing: uv pip install -r requirements/dev.txt")
    port = free_port()
    command = [sys.executable, "-m", "tests.console.provider", str(port), f"{SITE}/login/callback", str(claims)]
    process = Process(command, port, {"PYTHONPATH": str(ROOT)}, claims.with_suffix(".log"))
    try:
        yield process.wait("/healthz")
    finally:
        process.kill()


@pytest.fixture
def settings(provider: Process, tmp_path: Path) -> ConsoleSettings:
    (tmp_path / "secret").write_text("a secret between two\n")
    return ConsoleSettings(
        oidc_issuer=provider.url,
        oidc_client_secret_file=tmp_path / "secret",
        oidc_allow="groups=staff",
        oidc_admin="groups=admins",
    )


def browser(settings: ConsoleSettings) -> httpx.AsyncClient:
    """A client with cookies whose calls of the console stay in this process."""
    app = Guard(with_login(Starlette(routes=[Route("/", who), Route("/healthz", who)]), settings), settings)
    inside = httpx.ASGITransport(app)
    return httpx.AsyncClient(mounts={SITE: inside}, base_url=SITE, headers=HTML)


async def log_in(client: httpx.AsyncClient) -> httpx.Response:
    return await client.get("/", follow_redirects=True)


async def test_a_stranger_is_sent_to_the_provider_and_comes_back_known(settings, claims):
    claims.write_text(json.dumps({"groups": ["staff"]}))
    async with browser(settings) as client:
        first = await client.get("/")
        assert (first.status_code, first.headers["location"]) == (303, "/login")
        asked = await client.get("/login")
        query = asked.next_request.url.params
        assert query["code_challenge_method"] == "S256"
        assert {"state", "nonce", "code_challenge"} <= query.keys()
        found = await log_in(client)
        assert (found.status_code, found.json()) == (200, {"admin": False})
        cookie = next(
            header for header in found.history[-1].headers.get_list("set-cookie") if "observa_session" in header
        )
        assert {"httponly", "samesite=lax"} <= {part.strip() for part in cookie.lower().split(";")}


async def test_only_those_with_the_claim_are_administrators(settings, claims):
    claims.write_text(json.dumps({"groups": ["staff", "admins"]}))
    async with browser(settings) as client:
        assert (await log_in(client)).json() == {"admin": True}


async def test_whoever_is_not_among_the_allowed_stays_outside(settings, claims):
    claims.write_text(json.dumps({"groups": ["guests"]}))
    async with browser(settings) as client:
        found = await log_in(client)
        assert found.status_code == 403
        assert "may not use" in found.text
        assert (await client.get("/")).status_code == 303


async def test_a_program_without_a_session_is_told_so_and_health_is_open(settings):
    async with browser(settings) as client:
        assert (await client.get("/", headers={"accept": "application/json"})).status_code == 401
        assert (await client.get("/healthz")).status_code == 200


async def test_logging_out_ends_the_session(settings, claims):
    claims.write_text(json.dumps({"groups": ["staff"]}))
    async with browser(settings) as client:
        assert (await log_in(client)).status_code == 200
        assert "logged out" in (await client.get("/logout")).text
        assert (await client.get("/")).status_code == 303


@pytest.mark.parametrize("spoilt", ["state", "code"])
async def test_a_forged_answer_of_the_provider_is_refused(settings, claims, spoilt):
    claims.write_text(json.dumps({"groups": ["staff"]}))
    async with browser(settings) as client:
        asked = await client.get("/login")
        back = await client.send(asked.next_request)
        forged = httpx.URL(back.headers["location"]).copy_set_param(spoilt, "forged")
        found = await client.get(forged)
        assert found.status_code == 403
        assert "forged" not in found.text
        assert (await client.get("/")).status_code == 303


async def test_a_session_of_somebody_elses_making_opens_nothing(settings):
    async with browser(settings) as client:
        client.cookies.set("observa_session", "eyJ1bnRpbCI6IDk5OTk5OTk5OTl9.aaaa.bbbb")
        assert (await client.get("/")).status_code == 303


async def test_a_provider_that_is_away_is_said_in_words(settings):
    async with browser(settings.model_copy(update={"oidc_issuer": f"http://127.0.0.1:{free_port()}"})) as client:
        found = await client.get("/login")
        assert (found.status_code, "cannot be reached" in found.text) == (502, True)


async def test_without_a_provider_nobody_logs_in_and_everybody_administers():
    async with browser(ConsoleSettings()) as client:
        assert (await client.get("/")).json() == {"admin": True}


@pytest.mark.timeout(120)
def test_it_ends_with_0_when_it_is_told_to(tmp_path):
    port = free_port()
    process = Process([sys.executable, "-m", "console"], port, {"OBSERVA_CONSOLE_PORT": str(port)}, tmp_path / "log")
    try:
        process.wait("/healthz")
    finally:
        assert process.terminate() == 0  # a handler of its own: the first process of a container has no default


@pytest.mark.parametrize("content", [b"", b"key\xff"])
def test_a_file_that_holds_no_secret_is_named_and_not_repeated(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content)
    settings = ConsoleSettings(console_key_file=file, oidc_client_secret_file=file)
    for read in (settings.key, settings.oidc_secret):
        with pytest.raises(SettingsError, match=r"file (holds no text|is empty); write the secret"):
            read()


def test_a_secret_that_cannot_be_read_is_one_line(tmp_path):
    environment = os.environ | {
        "OBSERVA_OIDC_ISSUER": "http://127.0.0.1:1",
        "OBSERVA_OIDC_CLIENT_SECRET_FILE": str(tmp_path / "nothing"),
        "OBSERVA_CONSOLE_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "console"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].endswith("check OBSERVA_OIDC_CLIENT_SECRET_FILE")

"""TLS to a real server: every client of ours speaks it, and nobody else's certificate will do."""

import shutil
import ssl
import subprocess
from contextlib import contextmanager

import httpx
import pytest
import trustme

from broker.connection import check_server, connect
from broker.errors import BrokerUnavailableError, SettingsError
from broker.settings import BrokerSettings, load_settings
from broker.streams import CHANGES, Tag
from deploy.redis.__main__ import make_users
from tests.broker.secured import SecuredServer
from tests.broker.tls_front import TlsFront
from tests.live.services import ROOT, Services, make_model
from tests.servers import PROGRAMS, eventually, free_port, wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A server's certificate, a client's, and two who vouch: ours and another."""
    folder = tmp_path_factory.mktemp("tls")
    ours = trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.crt")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.crt")
    for name, host in (("server", "127.0.0.1"), ("client", "client.example"), ("misnamed", "elsewhere.example")):
        issued = ours.issue_cert(host)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")
    return folder


@pytest.fixture
def program_with_tls(folder):
    """A server that speaks TLS itself, for what a front cannot stand in for."""
    for program in PROGRAMS.values():
        # With the port in use or free, a server without TLS ends at once and says so.
        command = [
            program,
            "--port",
            "0",
            "--tls-port",
            "0",
            "--tls-cert-file",
            str(folder / "none"),
            "--dir",
            str(folder),
        ]
        tried = subprocess.run(
            [*command, "--tls-replication", "yes"], check=False, capture_output=True, text=True, timeout=10
        )
        if "Failed to configure TLS" in tried.stdout:
            return program
    return pytest.skip("no server with TLS here: apt-get install redis-server")


@contextmanager
def serving(folder, tmp_path, certificate="server", *options, wants_certificate=False):
    """The tests' own server, with TLS in front of it."""
    query = "&".join(
        f"ssl_{name}={folder / file}"
        for name, file in (("ca_certs", "ca.crt"), ("certfile", "client.crt"), ("keyfile", "client.key"))
    )
    server = SecuredServer(tmp_path, PROGRAMS["valkey"], f"rediss://127.0.0.1:{{port}}/0?ssl_check_hostname=no&{query}")
    server.url = f"rediss://127.0.0.1:{server.port}/0"
    plain = free_port()
    front = TlsFront(server.port, plain, folder, certificate, wants_certificate=wants_certificate)
    try:
        server.start("--port", str(plain), *options)
        yield server
    finally:
        server.kill()
        front.close()


@pytest.fixture
def server(folder, tmp_path):
    with serving(folder, tmp_path) as server:
        yield server


async def looked_at(settings: BrokerSettings) -> None:
    redis = connect(settings, "test")
    try:
        await check_server(redis, settings)
    finally:
        await redis.aclose()
        await redis.connection_pool.disconnect()


async def test_a_server_with_our_certificate_is_used(server, folder):
    await looked_at(BrokerSettings(redis_url=server.url, redis_ca_file=folder / "ca.crt"))


async def test_a_cluster_is_reached_with_tls(folder, tmp_path):
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with serving(folder, tmp_path, "server", *options) as server:
        with server.look() as look:
            look.config_set("cluster-announce-port", server.port)
            look.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: look.execute_command("CLUSTER INFO")["cluster_state"] == "ok", "the cluster serves")
        url = f"rediss+cluster://127.0.0.1:{server.port}"
        await looked_at(BrokerSettings(redis_url=url, redis_ca_file=folder / "ca.crt"))
        with pytest.raises(BrokerUnavailableError, match="not trusted"):
            await looked_at(BrokerSettings(redis_url=url, redis_ca_file=folder / "other-ca.crt"))


@contextmanager
def sentinel_with_tls(program, folder, tmp_path):
    """A server with TLS, and a Sentinel with TLS that watches it; the Sentinel's port."""
    files = {"cert": "server.crt", "key": "server.key", "ca-cert": "ca.crt"}
    secured = [f"tls-{name}-file {folder / file}" for name, file in files.items()]
    secured += ["port 0", "tls-auth-clients no", "tls-replication yes"]
    ports = {"server": free_port(), "sentinel": free_port()}
    lines = {"server": ["save ''"], "sentinel": [f"sentinel monitor log 127.0.0.1 {ports['server']} 1"]}
    started = []
    try:
        for name, port in ports.items():
            config = tmp_path / f"{name}.conf"
            options = [*secured, *lines[name], f"tls-port {port}", f"dir {tmp_path}", f"logfile {tmp_path}/{name}.log"]
            config.write_text("\n".join(options))
            started.append(subprocess.Popen([program, str(config), *(["--sentinel"] if name == "sentinel" else [])]))
        yield ports["sentinel"]
    finally:
        for process in started:
            process.kill()
            process.wait(20)


async def test_sentinels_and_the_server_that_they_name_are_reached_with_tls(folder, tmp_path, program_with_tls):
    async def is_there() -> bool:
        try:
            await looked_at(settings)
        except BrokerUnavailableError:  # it has only just been started
            return False
        return True

    with sentinel_with_tls(program_with_tls, folder, tmp_path) as port:
        url = f"rediss+sentinel://127.0.0.1:{port}/log"
        settings = BrokerSettings(redis_url=url, redis_ca_file=folder / "ca.crt", allow_unsafe_redis=True)
        await eventually(is_there, "the Sentinel names the server, and both are trusted")


@pytest.mark.parametrize("vouching", ["other-ca.crt", None])
async def test_a_certificate_that_nobody_we_trust_vouches_for_is_refused_in_one_line(server, folder, vouching):
    settings = BrokerSettings(redis_url=server.url, redis_ca_file=vouching and folder / vouching)
    with pytest.raises(BrokerUnavailableError, match=r"not trusted \(.+\); check OBSERVA_REDIS_CA_FILE") as told:
        await looked_at(settings)
    assert "\n" not in str(told.value)


async def test_a_certificate_for_another_name_is_refused(folder, tmp_path):
    misnamed, refused = serving(folder, tmp_path, "misnamed"), pytest.raises(BrokerUnavailableError, match="IP address")
    with misnamed as server, refused:
        await looked_at(BrokerSettings(redis_url=server.url, redis_ca_file=folder / "ca.crt"))


async def test_a_server_that_wants_our_certificate_gets_it(folder, tmp_path):
    ours = {"redis_cert_file": folder / "client.crt", "redis_key_file": folder / "client.key"}
    with serving(folder, tmp_path, wants_certificate=True) as server:
        await looked_at(BrokerSettings(redis_url=server.url, redis_ca_file=folder / "ca.crt", **ours))
        with pytest.raises(BrokerUnavailableError):
            await looked_at(BrokerSettings(redis_url=server.url, redis_ca_file=folder / "ca.crt"))


async def test_speaking_without_tls_to_a_server_with_it_is_one_line(server):
    with pytest.raises(BrokerUnavailableError, match="OBSERVA_REDIS_URL") as told:
        await looked_at(BrokerSettings(redis_url=server.url.replace("rediss", "redis")))
    assert "\n" not in str(told.value)


def test_tls_files_without_tls_are_a_mistake_and_not_ignored(folder):
    settings = BrokerSettings(redis_url="redis://127.0.0.1:1/0", redis_ca_file=folder / "ca.crt")
    with pytest.raises(SettingsError, match="rediss://"):
        _ = settings.url_with_password


def test_a_file_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("OBSERVA_REDIS_CA_FILE", "/nowhere/ca.crt")
    with pytest.raises(SettingsError, match="OBSERVA_REDIS_CA_FILE"):
        load_settings(BrokerSettings)


def test_a_user_and_a_password_with_odd_characters_survive_the_address(tmp_path):
    (tmp_path / "password").write_text("p@ss/w:rd?#\n")
    settings = BrokerSettings(
        redis_url="rediss://redis.example:6379/2", redis_user="gateway", redis_password_file=tmp_path / "password"
    )
    assert settings.url_with_password == "rediss://gateway:p%40ss%2Fw%3Ard%3F%23@redis.example:6379/2"


async def test_the_sample_configuration_starts_a_server_with_tls_and_users(folder, tmp_path, program_with_tls):
    users = make_users(tmp_path)
    for sample, ours in {"redis.crt": "server.crt", "redis.key": "server.key", "ca.crt": "ca.crt"}.items():
        shutil.copy(folder / ours, tmp_path / sample)
    password = (tmp_path / "gateway.password").read_text().strip()
    look = f"rediss://gateway:{password}@127.0.0.1:{{port}}/0?ssl_ca_certs={folder / 'ca.crt'}"
    server = SecuredServer(tmp_path, program_with_tls, look)
    sample = (ROOT / "deploy" / "redis" / "redis.conf").read_text().replace("/etc/observa", str(users.parent))
    sample = sample.replace("/var/lib/redis", str(tmp_path)).replace("tls-port 6379", f"tls-port {server.port}")
    (tmp_path / "redis.conf").write_text(f"{sample}\nbind 127.0.0.1\n")
    server.start(configuration=tmp_path / "redis.conf")
    settings = BrokerSettings(
        redis_url=f"rediss://127.0.0.1:{server.port}/0",
        redis_user="gateway",
        redis_password_file=tmp_path / "gateway.password",
        redis_ca_file=folder / "ca.crt",
    )
    try:
        await looked_at(settings)
        with pytest.raises(BrokerUnavailableError, match="OBSERVA_REDIS_USER"):
            await looked_at(settings.model_copy(update={"redis_user": "worker"}))
    finally:
        server.kill()


@pytest.mark.live
@pytest.mark.timeout(300)
def test_the_services_work_over_tls_and_the_workers_control_bus_reads_too(server, folder, tmp_path):
    (tmp_path / "services").mkdir()
    services = Services(server, tmp_path / "services", model="strange", redis_ca_file=folder / "ca.crt")
    make_model(services.models, "strange")
    try:
        worker, gateway, monitor = services.worker(), services.gateway(), services.monitor()
        assert httpx.post(f"{gateway.url}/predict", json={"text": "good"}).json()["label"] == "positive"
        with server.look() as look:
            wait_until(
                lambda: look.hget(Tag("strange").key("monitor"), "results"), "the monitor has stored its position"
            )
            announced = look.hgetall("observa:{strange}:workers")
            look.xadd(CHANGES, {"model": "strange"})
            wait_until(lambda: look.hgetall("observa:{strange}:workers") != announced, "the bus was heard", 4)
            clients = {client["name"] for client in look.client_list()}
        assert "observa-worker-0-bus" in clients
        assert worker.alive
        assert httpx.get(f"{monitor.url}/healthz").status_code == 200
    finally:
        services.stop()


def test_the_certificates_of_the_test_are_read_by_python_itself(folder):
    assert ssl.create_default_context(cafile=str(folder / "ca.crt")).get_ca_certs()

"""URLs of one server and of several, and settings that cannot work."""

import traceback

import pytest
from redis.asyncio.connection import parse_url

from archive.settings import ArchiveSettings
from broker.connection import connect
from broker.errors import SettingsError
from broker.settings import BrokerSettings, load_settings
from console.settings import ConsoleSettings
from deploy.local.settings import StackSettings
from gateway.settings import GatewaySettings
from monitor.settings import MonitorSettings
from worker.explaining.settings import ExplainerSettings
from worker.settings import WorkerSettings


def test_a_url_of_several_servers_gives_one_of_each_with_login_and_database(tmp_path):
    secret, ca = tmp_path / "password", tmp_path / "ca.pem"
    secret.write_text("p@ss\n")
    ca.write_text("")
    sentinel = BrokerSettings(
        redis_url="rediss+sentinel://a:26379,b/main/3", redis_user="me", redis_password_file=secret, redis_ca_file=ca
    )
    query = f"ssl_ca_certs={ca}".replace("/", "%2F")
    assert (sentinel.kind, sentinel.sentinel_service) == ("sentinel", "main")
    assert sentinel.urls == [f"rediss://me:p%40ss@{host}/3?{query}" for host in ("a:26379", "b")]
    cluster = BrokerSettings(redis_url="redis+cluster://u:x@a:1,[::1]:2", redis_password_file=secret)
    assert (cluster.kind, cluster.urls) == ("cluster", ["redis://u:x@a:1/0", "redis://u:x@[::1]:2/0"])
    single = BrokerSettings(redis_url="redis://a:1/2")
    assert (single.kind, single.urls) == ("server", ["redis://a:1/2"])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://a", "must begin with"),
        ("redis+ring://a", "redis\\+sentinel:// or redis\\+cluster://"),
        ("unix+cluster://a", "must begin with"),
        ("redis+sentinel://a:1,b:2", "must name the service"),
        ("redis://a:1,b:2", "say which kind"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_what_is_missing(monkeypatch, url, told):
    monkeypatch.setenv("OBSERVA_REDIS_URL", url)
    with pytest.raises(SettingsError, match=told):
        load_settings(BrokerSettings)


def test_a_sentinels_password_that_is_not_there_is_named(tmp_path):
    settings = BrokerSettings(redis_url="redis+sentinel://a/main", redis_sentinel_password_file=tmp_path / "none")
    with pytest.raises(SettingsError, match="OBSERVA_REDIS_SENTINEL_PASSWORD_FILE"):
        _ = settings.sentinel_password


SECRET = "hunter2secret"  # of a test


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/x@127.0.0.1:6379/0",
        f"redis://:{SECRET}#x@127.0.0.1:6379/0",
        f"redis://:{SECRET}?x@127.0.0.1:6379/0",
        f"redis://:{SECRET}[x@127.0.0.1:6379/0",
        f"redis://:{SECRET}\u2100@127.0.0.1:6379/0",
        f"redis://{SECRET}/0/0",
        f"redis://:{SECRET}@127.0.0.1:99999/0",
        f"redis://:{SECRET}@127.0.0.1:6379/{SECRET}",
        f"redis+cluster://:{SECRET}@a,b,:/0",
        f"redis+sentinel://:{SECRET}@a,b",
        f"unix://:{SECRET}/x@/run/redis.sock",
        f"redis://127.0.0.1:{SECRET}",
        f"http://:{SECRET}@a",
    ],
)
def test_a_url_that_is_refused_is_not_repeated(monkeypatch, url):
    monkeypatch.setenv("OBSERVA_REDIS_URL", url)
    with pytest.raises(SettingsError, match=r"^OBSERVA_REDIS_URL: [^\n]+$") as refused:
        load_settings(BrokerSettings)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    with pytest.raises(ValueError, match="redis_url") as said:
        BrokerSettings(redis_url=url)
    assert SECRET not in str(said.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://me:{SECRET}@a:1/2", "redis://a:1/2"),
        (f"redis://me:{SECRET}@x@a:1/2", "redis://a:1/2"),
        (f"redis://a:1/2?password={SECRET}", "redis://a:1/2"),
        (f"rediss+sentinel://:{SECRET}@a,b:1/main/3", "rediss+sentinel://a,b:1/main/3"),
        (f"unix://me:{SECRET}@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_what_is_shown_of_a_url_has_no_password_and_what_connects_has(url, shown):
    settings = BrokerSettings(redis_url=url)
    assert settings.server_url == shown
    assert SECRET not in repr(settings)
    assert all(SECRET in parse_url(one)["password"] for one in settings.urls)


def test_a_socket_without_a_login_can_be_connected_to():
    (url,) = BrokerSettings(redis_url="unix:///run/redis.sock?db=3").urls
    assert parse_url(url) | {"connection_class": None} == {
        "path": "/run/redis.sock",
        "db": 3,
        "connection_class": None,
    }


def test_an_empty_password_file_is_named(tmp_path):
    (tmp_path / "password").touch()
    with pytest.raises(SettingsError, match=r"password is empty; .*OBSERVA_REDIS_PASSWORD_FILE"):
        _ = BrokerSettings(redis_url="redis://a", redis_password_file=tmp_path / "password").urls


def test_a_password_file_that_holds_no_text_is_named_and_not_repeated(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(SECRET.encode() + b"\xff")
    with pytest.raises(SettingsError, match="holds no text") as raised:
        _ = BrokerSettings(redis_password_file=file, redis_url="redis://h").url_with_password
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("name", ["MODELS", "REDIS_CA_FILE"])
def test_a_path_that_cannot_be_looked_at_is_named_in_one_line(monkeypatch, name):
    monkeypatch.setenv(f"OBSERVA_{name}", "x" * 300)
    with pytest.raises(SettingsError, match=r"^x+: File name too long; [^\n]+$"):
        load_settings(BrokerSettings)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@h?nonsense={SECRET}",
        f"redis://h/0?socket_timeout={SECRET}",
        "redis://h?ssl_cert_reqs=none",  # of TLS, which is not there
        f"rediss://h?ssl_cert_reqs={SECRET}",
        f"unix:///socket?db={SECRET}",
        f"redis+sentinel://h/service?nonsense={SECRET}",
        f"redis+cluster://h?nonsense={SECRET}",
    ],
)
def test_an_option_of_the_url_that_nothing_takes_is_refused_before_anything_is_asked(url):
    with pytest.raises(SettingsError, match=r"^OBSERVA_REDIS_URL has an option") as raised:
        connect(BrokerSettings(redis_url=url), "test")
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_options_of_connections_and_of_pools_are_taken():
    connect(BrokerSettings(redis_url="rediss://h?ssl_cert_reqs=none&health_check_interval=3&max_connections=5"), "test")


@pytest.mark.parametrize("name", ["STORE", "ARCHIVE"])
@pytest.mark.parametrize("login", [f"me:{SECRET}", f"me:{SECRET}/x", f":{SECRET}@x"])
def test_a_store_or_archive_with_a_password_is_refused_and_not_repeated(monkeypatch, name, login):
    monkeypatch.setenv(f"OBSERVA_{name}", f"https://{login}@files.example/observa")
    with pytest.raises(SettingsError, match=rf"^OBSERVA_{name}: [^\n]+$") as refused:
        load_settings(BrokerSettings)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://bucket/a@b", "sftp://me@host/models", "/srv/models", "ftp://host:21/x"])
def test_a_store_without_a_password_is_taken(url):
    assert BrokerSettings(store=url).store == url


WRONG = {
    "MODEL": (BrokerSettings, "a}{b"),
    "JOIN_RETENTION_H": (BrokerSettings, "0.0001"),
    "TEXT_RETENTION_H": (BrokerSettings, "0.0001"),
    "RESULTS_RETENTION_H": (BrokerSettings, "nan"),
    "DATA_DIR": (BrokerSettings, __file__),
    "MODELS": (BrokerSettings, __file__),
    "STORE": (BrokerSettings, "nonsense"),
    "REDACT": (BrokerSettings, "..:f"),
    "ARCHIVE": (ArchiveSettings, "ftp://me:secret@archive.example/observa"),
    "RUN_DIR": (StackSettings, __file__),
    "PAGE_WEBHOOK_URL": (StackSettings, "https://"),
    "GATEWAY_HOST": (GatewaySettings, "http://0.0.0.0"),
    "GATEWAY_INTERNAL_HOST": (StackSettings, "127.0.0.1:9000"),
    "GATEWAY_ALLOWED_HOSTS": (GatewaySettings, "api.example, https://api.example/"),
    "CONSOLE_ALLOWED_HOSTS": (ConsoleSettings, "console.example:7860"),
    "CONSOLE_HOST": (ConsoleSettings, "[::1]"),
    "CONSOLE_MONITOR_URL": (ConsoleSettings, "http://127.0.0.1:80010"),
    "MONITOR_HOST": (MonitorSettings, "0.0.0.0/0"),
    "WORKER_METRICS_HOST": (WorkerSettings, "a b"),
    "WORKER_MODELS": (WorkerSettings, "good,B}D"),
    "EXPLAINER_HOST": (ExplainerSettings, "-"),
    "ARCHIVE_HOST": (ArchiveSettings, "tcp://x"),
}


@pytest.mark.parametrize("prefix", ["/v1", "/v2/nlp", "nlp", "/nlp/", "/a//b", "/a/../b", "/a b", "/%6elp"])
def test_a_path_prefix_that_is_no_path_or_cannot_be_told_from_the_gateway_s_own_is_refused(monkeypatch, prefix):
    monkeypatch.setenv("OBSERVA_PATH_PREFIX", prefix)
    with pytest.raises(SettingsError, match="OBSERVA_PATH_PREFIX"):
        load_settings(GatewaySettings)


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_cannot_work_is_refused_in_one_line_that_names_its_variable(monkeypatch, name):
    settings, value = WRONG[name]
    monkeypatch.setenv(f"OBSERVA_{name}", value)
    with pytest.raises(SettingsError, match=rf"^OBSERVA_{name}: [^\n]+$"):
        load_settings(settings)


@pytest.mark.parametrize(
    ("settings", "variables", "told"),
    [
        (GatewaySettings, {"GATEWAY_INTERNAL_PORT": 8000}, "OBSERVA_GATEWAY_PORT and OBSERVA_GATEWAY_INTERNAL_PORT"),
        (
            GatewaySettings,
            {"GATEWAYS": 64, "GATEWAY_SLOT": 63, "GATEWAY_INTERNAL_PORT": 65_500},
            "OBSERVA_GATEWAY_INTERNAL_PORT: 64 ports from 65500",
        ),
        (GatewaySettings, {"SYNC_DEADLINE_MS": 60_001}, "OBSERVA_SYNC_DEADLINE_MS .60001. must be no more than"),
        (WorkerSettings, {"WORKER_SLOT": 999, "WORKER_METRICS_PORT_BASE": 65_000}, "OBSERVA_WORKER_METRICS_PORT_BASE"),
        (StackSettings, {"MONITOR_PORT": 8000}, "OBSERVA_GATEWAY_PORT and OBSERVA_MONITOR_PORT"),
        (
            StackSettings,
            {"WORKERS": 8, "CONSOLE_PORT": 9108},
            "OBSERVA_WORKER_METRICS_PORT_BASE and OBSERVA_CONSOLE_PORT",
        ),
        (StackSettings, {"GATEWAYS": 2, "PROMETHEUS_PORT": 9001}, "OBSERVA_GATEWAY_INTERNAL_PORT and OBSERVA_PROM"),
        (StackSettings, {"ARCHIVE": "x", "ARCHIVE_PORT": 8002}, "OBSERVA_ARCHIVE_PORT and OBSERVA_EXPLAINER_PORT"),
    ],
)
def test_ports_that_meet_are_refused_in_one_line_that_names_both(monkeypatch, settings, variables, told):
    for name, value in variables.items():
        monkeypatch.setenv(f"OBSERVA_{name}", str(value))
    with pytest.raises(SettingsError, match=f"^{told}[^\n]+$"):
        load_settings(settings)


def test_a_port_of_what_does_not_run_is_free():
    StackSettings(monitor_port=8002, explainer=False, redis_port=9090, alerting=False, archive_port=8000)

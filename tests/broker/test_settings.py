"""URLs of one server and of several."""

import pytest

from broker.errors import SettingsError
from broker.settings import BrokerSettings, load_settings


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

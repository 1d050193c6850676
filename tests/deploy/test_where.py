"""What `just up` prints at its end works as it is printed."""

import pytest

from deploy.local.launch import command
from deploy.local.settings import StackSettings
from deploy.local.where import print_where
from gateway.settings import GatewaySettings

KEY = "Bearer $(cat "


def said(capsys: pytest.CaptureFixture[str], **chosen: object) -> str:
    print_where(StackSettings(**chosen))
    return capsys.readouterr().out


def test_without_keys_the_printed_call_has_no_key(capsys, tmp_path):
    out = said(capsys, run_dir=tmp_path)
    assert "curl -s http://127.0.0.1:8000/predict -H 'content-type: application/json' -d" in out
    assert KEY not in out


@pytest.mark.parametrize("chosen", [{"gateway_auth": "keys"}, {"gateway_host": "0.0.0.0"}])
def test_where_keys_are_asked_for_the_printed_call_shows_one_and_how_to_make_it(capsys, tmp_path, chosen):
    made = tmp_path / "data" / "caller.key"
    out = said(capsys, run_dir=tmp_path, data_dir=tmp_path / "data", **chosen)
    assert f"just keys create me > {made})" in out
    assert f'-H "authorization: {KEY}{made})"' in out
    mine = said(capsys, run_dir=tmp_path, api_key_file="a file", **chosen)
    assert "keys create" not in mine
    assert f"{KEY}'a file')" in mine
    assert KEY not in said(capsys, run_dir=tmp_path, **chosen | {"gateway_auth": "none"})


def test_addresses_of_ipv6_have_brackets_that_no_shell_expands(capsys, tmp_path):
    out = said(capsys, run_dir=tmp_path, gateway_host="::1", gateway_internal_port=9009)
    assert "curl -s 'http://[::1]:8000/predict' " in out
    assert "(documentation: http://127.0.0.1:9009/docs)" in out


def test_a_gateway_with_names_of_its_own_still_answers_to_this_machine(monkeypatch):
    monkeypatch.setenv("OBSERVA_GATEWAY_ALLOWED_HOSTS", "api.example")
    command(StackSettings(gateway_host="127.0.0.2"), "gateway")
    hosts = GatewaySettings().hosts
    assert hosts == {"api.example", "localhost", "127.0.0.1", "::1", "127.0.0.2"}

"""The console and the explainer beside the stack: it runs without them, and says so."""

import pytest

from broker.errors import ObservaError
from deploy.local import extras
from deploy.local.settings import StackSettings
from deploy.local.where import print_where

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def test_a_console_that_cannot_start_is_one_line_and_the_rest_runs(stack):
    said = stack.ok("up", OBSERVA_CONSOLE="true")  # there is none in this tree
    assert "console not started" in said
    assert "OBSERVA_CONSOLE" not in stack.ok("status")
    assert "curl -s http://127.0.0.1" in said


def test_what_is_switched_off_is_not_wanted():
    assert extras.wanted(StackSettings(console=False)) == ("explainer",)
    assert extras.wanted(StackSettings(console=False, explainer=False)) == ()


def test_without_its_libraries_nothing_is_started(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    with pytest.raises(ObservaError, match="just up"):
        extras.command(StackSettings(), "explainer")
    with pytest.raises(ObservaError, match="just lock"):
        extras.install("explainer")


def test_the_console_is_told_where_the_others_are(monkeypatch):
    for name in ("GATEWAY_URL", "ADMIN_URL", "MONITOR_URL", "PROMETHEUS_URL"):
        monkeypatch.setenv(f"OBSERVA_CONSOLE_{name}", "")
        monkeypatch.delenv(f"OBSERVA_CONSOLE_{name}")
    extras.command(StackSettings(gateway_host="0.0.0.0", gateway_internal_port=9000, monitor_port=8011), "console")
    assert extras.os.environ["OBSERVA_CONSOLE_GATEWAY_URL"] == "http://127.0.0.1:8000"
    assert extras.os.environ["OBSERVA_CONSOLE_ADMIN_URL"] == "http://127.0.0.1:9000"
    assert extras.os.environ["OBSERVA_CONSOLE_MONITOR_URL"] == "http://127.0.0.1:8011"


def test_the_documentation_is_announced_where_it_is_shown(monkeypatch, capsys):
    monkeypatch.setattr("deploy.local.where.probes.running", lambda _: [])
    for settings, place in (
        (StackSettings(), "127.0.0.1:8000"),
        (StackSettings(gateways=2), "127.0.0.1:9000"),
        (StackSettings(gateway_host="0.0.0.0"), "127.0.0.1:9000"),
        (StackSettings(gateway_internal_port=9400), "127.0.0.1:9400"),
        (StackSettings(gateway_host="::1"), "[::1]:8000"),
    ):
        print_where(settings)
        assert f"(documentation: http://{place}/docs)" in capsys.readouterr().out

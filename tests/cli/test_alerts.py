import json
from typing import Any

import pytest
from redis import Redis

from broker.events import Alert
from broker.streams import Tag
from cli.evidence import ago, bin_name, runbook, spark, when
from tests.cli.commands import Just
from tests.servers import RedisServer

pytestmark = pytest.mark.usefixtures("log_of_commands")
TAG = Tag("sentiment")
HOUR_MS = 3_600_000


def alert(at_ms: int, **changes: Any) -> Alert:
    values: dict[str, Any] = {
        "alert_id": f"1:psi:words:{at_ms}-0",
        "state": "firing",
        "detector": "psi",
        "feature": "words",
        "severity": "ticket",
        "version": "1",
        "statistic": 0.31,
        "threshold": 0.06,
        "summary": "words is distributed unlike the reference",
        "evidence": {
            "window": "500 entries",
            "onset_ms": at_ms - 90_000,
            "current": [300, 150, 50],
            "reference": [100, 100, 100],
            "edges": [8.0, 20.0],
            "sample_ids": ["sentiment.0.first", "sentiment.0.second"],
            "runbook": "docs/runbooks/InputDrift.md",
        },
        "at_ms": at_ms,
    }
    return Alert(**(values | changes))


def write(server: RedisServer, *alerts: Alert, model: str = "sentiment") -> int:
    """Add *alerts*; return Redis' time in milliseconds."""
    with Redis(port=server.port) as client:
        for one in alerts:
            client.xadd(Tag(model).alerts, one.to_fields())
        return int(client.time()[0]) * 1000


def test_an_alarm_says_what_moved_by_how_much_since_when_with_examples_and_what_to_do(
    server: RedisServer, just: Just
) -> None:
    now_ms = write(server)
    write(server, alert(now_ms - 2 * HOUR_MS))
    status, out, _ = just("alerts")
    assert status == 0
    assert out.startswith("FIRING ticket  text length in words  sentiment 1  20")
    for fact in (
        "(2 h ago)",
        "words is distributed unlike the reference",
        "psi over 500 entries: 0.31, begins at 0.06",
        "reference   ▅▅▅",
        "now         █▅▂",
        "up to 8: 33.3 % of the reference, 60.0 % now",
        f"began       about {when(now_ms - 2 * HOUR_MS - 90_000)}, 2 min before it was certain",
        "for example sentiment.0.second",
        "what to do  docs/runbooks/InputDrift.md",
    ):
        assert fact in out


def test_firing_alarms_come_first_and_each_kind_newest_first(server: RedisServer, just: Just) -> None:
    first, second, third = (alert(at, alert_id=f"a{at}", summary=f"began {at}") for at in (1000, 2000, 3000))
    end = alert(4000, alert_id="a3000", state="resolved", summary="as before", evidence={"began_ms": 3000})
    write(server, first, second, third, end)
    _, out, _ = just("alerts", "--json")
    shown = [json.loads(line) for line in out.splitlines()]
    assert [one["summary"] for one in shown] == ["began 2000", "began 1000", "began 3000"]
    assert [one["state"] for one in shown] == ["firing", "firing", "resolved"]
    assert (shown[2]["ended_ms"], shown[2]["ended_summary"]) == (4000, "as before")
    assert shown[2]["evidence"]["current"] == [300, 150, 50]  # kept from its beginning


def test_an_alert_written_twice_is_one_alarm(server: RedisServer, just: Just) -> None:
    write(server, alert(1000), alert(1000))
    assert just("alerts")[1].count("FIRING") == 1


def test_every_model_is_shown_unless_one_is_named(server: RedisServer, just: Just) -> None:
    write(server, alert(1000))
    write(server, alert(1000), model="sentiment-linear")
    assert just("alerts")[1].count("FIRING") == 2
    assert just("alerts", "--model", "sentiment-linear")[1].count("FIRING") == 1


def test_an_accuracy_alarm_shows_what_was_taken_for_what(server: RedisServer, just: Just) -> None:
    evidence = {
        "runbook": "docs/runbooks/AccuracyAlarm.md",
        "window": "last 90 labels",
        "confusion": {"positive": {"negative": 40, "positive": 20}},
    }
    write(server, alert(1000, detector="e-sr", feature="accuracy", severity="page", evidence=evidence))
    _, out, _ = just("alerts")
    assert "FIRING page  accuracy" in out
    assert "positive taken for negative: 40" in out
    assert "docs/runbooks/AccuracyAlarm.md" in out


def test_without_alarms_it_says_so_and_an_unreadable_entry_is_named_and_left_out(
    server: RedisServer, just: Just
) -> None:
    assert just("alerts", "--model", "sentiment") == (0, "", "no alarm of sentiment is on record\n")
    with Redis(port=server.port) as client:
        client.xadd(TAG.alerts, {"alert_id": "x"})
    assert "an alert of {sentiment} was left out" in just("alerts", "--model", "sentiment")[2]


def test_what_others_wrote_cannot_steer_the_terminal(server: RedisServer, just: Just) -> None:
    write(server, alert(1000, summary="\x1b[31mred", version="1\x07", evidence={"sample_ids": ["\x1b]0;x"]}))
    assert "\x1b" not in just("alerts")[1]
    assert "\x07" not in just("alerts")[1]


def test_small_words_and_pictures() -> None:
    assert [ago(s) for s in (3, 90, 7200, 200_000)] == ["3 s", "2 min", "2 h", "2 d"]
    assert spark([0, 0.5, 1], 1) == "▁▅█"
    assert [bin_name(i, 3, [1.0, 2.0]) for i in range(3)] == ["up to 1", "1 to 2", "above 2"]
    assert bin_name(1, 3, None) == "bin 2 of 3"
    assert bin_name(1, 2, [], ["no", "yes"]) == "yes"
    assert runbook(alert(1, evidence={"runbook": "docs/runbooks/Own.md"})) == "docs/runbooks/Own.md"
    assert runbook(alert(1, evidence={})) == "docs/runbooks/README.md"  # of an older monitor

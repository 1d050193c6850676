import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from broker.streams import Tag
from cli.checks import checks, worst
from cli.evidence import Alarm
from cli.history import STEPS, History
from tests.cli.commands import Just
from tests.cli.test_alerts import alert
from tests.monitor.entries import draw, entry, feedback, labels_of, prediction_id, result, results_of
from tests.monitor.process import Process, running, store
from tests.servers import RedisServer, free_port, wait_until

TAG = Tag("sentiment")
COUNT = 3000
LABELS = COUNT // 2 + 60
STEP_MS = 2000
MINUTE_MS = 60_000


def fill(server: RedisServer, *, wrong: bool) -> None:
    """Write an hour and more that ends now: longer texts, and labels that become wrong, or not; then read it all."""
    rng = np.random.default_rng(11)
    with Redis(port=server.port) as client:
        start_ms = int(client.time()[0]) * 1000 - COUNT * STEP_MS
        results = results_of(draw(rng, COUNT, longer=1.5 if wrong else 1.0), start_ms, STEP_MS)
        right = rng.random(COUNT // 2) < np.linspace(0.95, 0.3 if wrong else 0.95, COUNT // 2)
        labels = labels_of(right.tolist(), start_ms, 2 * STEP_MS)
        end_ms = start_ms + COUNT * STEP_MS
        tag = {"source": "<app>" if wrong else "app"}
        labels += [
            entry(feedback(i % (3 if wrong else 20) > 1, id=prediction_id(end_ms - 90, i), tags=tag), end_ms, i)
            for i in range(LABELS - COUNT // 2)
        ]
        evaluated = entry(result(id=prediction_id(end_ms, 1), tags={"evaluation": "run"}), end_ms, 1)
        with client.pipeline(transaction=False) as pipeline:
            for stream, entries in ((TAG.results, [*results, evaluated]), (TAG.feedback, labels)):
                for entry_id, fields in entries:
                    pipeline.xadd(stream, fields, id=entry_id)
            pipeline.execute()


def labels_counted(monitor: Process) -> int:
    return int(monitor.report()["versions"]["1"]["accuracy"]["all"]["count"])


@pytest.fixture
def monitored(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Process]:
    """A real monitor that has read what `fill` wrote; the parameter says whether something is wrong."""
    fill(server, wrong=request.param)
    with running(server, store(tmp_path / "models")) as monitor:
        wait_until(lambda: monitor.report().get("versions", {}).get("1", {}).get("totals"), "results are counted")
        wait_until(lambda: not monitor.report()["monitor"]["catching_up"], "the log was read to its end")
        wait_until(lambda: labels_counted(monitor) == LABELS, "labels are counted")
        monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
        monkeypatch.setenv("OBSERVA_MONITOR_URL", f"http://127.0.0.1:{monitor.port}")
        yield monitor


class Page(HTMLParser):
    """Collects what a page asks for from elsewhere, and checks that its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "srcset", "data", "action"}]
        if tag in {"script", "link", "iframe", "img", "object"}:
            self.outside.append(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.live
@pytest.mark.usefixtures("monitored")
@pytest.mark.parametrize("monitored", [True], indirect=True)
def test_a_failing_model_fails_the_report_and_both_files_say_why(tmp_path: Path, just: Just) -> None:
    wait_until(lambda: "e-sr" in just("alerts", "--json")[1], "it pages")
    output = tmp_path / "out"
    status, out, err = just("report", "sentiment", "--since", "6h", "--output", str(output))
    assert (status, err) == (1, "")
    assert re.search(r"FAILED +alarms that page: on: .*e-sr of accuracy", out)
    document = json.loads((output / "sentiment.json").read_text())
    assert sum(row["answers"] for row in document["over_time"]) == COUNT  # the evaluation run is apart
    assert document["accuracy"]["labels"] == LABELS
    assert document["worst_slices"][0]["slice"] == "source=<app>"
    assert document["outcome"] == "FAILED"
    text = (output / "sentiment.html").read_text()
    page = Page(text)
    assert (page.outside, page.open) == ([], [])
    for fact in ("FIRING", "docs/runbooks/AccuracyAlarm.md", "source=&lt;app&gt;", "default-src 'none'", "<svg"):
        assert fact in text


@pytest.mark.live
@pytest.mark.usefixtures("monitored")
@pytest.mark.parametrize("monitored", [False], indirect=True)
def test_a_model_that_does_well_passes(tmp_path: Path, just: Just) -> None:
    status, out, _ = just("report", "--output", str(tmp_path / "out"))
    assert status == 0, out
    assert "FAILED" not in out
    assert just("report", "unheard-of")[::2] == (
        2,
        "observa report: the monitor does not watch 'unheard-of'; what is served: GET /v1/models\n",
    )


def test_without_a_monitor_it_says_what_to_start(just: Just, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("OBSERVA_MONITOR_URL", url)
    status, _, err = just("report", "--output", str(tmp_path))
    assert (status, err) == (
        2,
        f"observa report: no monitor answers at {url}; run: just up, or set OBSERVA_MONITOR_URL\n",
    )


def accuracy(labels: int, upper: float) -> dict[str, Any]:
    return {"1": {"labels": labels, "accuracy": upper - 0.02, "lower": upper - 0.04, "upper": upper}}


@pytest.mark.parametrize(
    ("labels", "upper", "outcome"),
    [(200, 0.79, "FAILED"), (200, 0.80, "passed"), (199, 0.5, "unknown"), (199, 0.9, "unknown"), (5000, 0.9, "passed")],
)
def test_accuracy_fails_only_when_its_upper_bound_is_below_the_target_and_few_labels_leave_it_unknown(
    labels: int, upper: float, outcome: str
) -> None:
    monitored = {"versions": {"1": {"target_accuracy": 0.8}}, "monitor": {"lag_seconds": 0.1}}
    found = checks(monitored, accuracy(labels, upper), [])
    assert [check.outcome for check in found] == [outcome, "passed", "passed"]
    assert worst(found) == outcome


@pytest.mark.parametrize("by_version", [{}, accuracy(5000, 0.9)])
def test_without_a_label_or_a_target_the_accuracy_is_unknown(by_version: dict[str, Any]) -> None:
    found = checks({"monitor": {"lag_seconds": 0.1}}, by_version, [])
    assert [check.outcome for check in found] == ["unknown", "passed", "passed"]
    assert worst(found) == "unknown"


def test_a_page_that_is_on_fails_and_tickets_are_counted_by_the_log_while_the_monitor_knows_none() -> None:
    monitored = {"alarms": [], "monitor": {"lag_seconds": 0.1}}
    page, ticket = (Alarm("sentiment", alert(1, severity=name)) for name in ("page", "ticket"))
    for firing, outcome, detail in (
        ([ticket] * 5, "passed", "none is on; open tickets: 5"),
        ([ticket, page], "FAILED", "on: psi of words; open tickets: 1"),
        ([], "passed", "none is on; open tickets: 0"),
    ):
        check = checks(monitored, {}, firing)[1]
        assert (check.outcome, check.detail) == (outcome, detail)


@pytest.mark.parametrize(
    ("own", "outcome"),
    [
        ({"lag_seconds": None}, "FAILED"),
        ({"lag_seconds": 1.0, "catching_up": True}, "FAILED"),
        ({"lag_seconds": 60.1}, "FAILED"),
        ({"lag_seconds": 59.9}, "passed"),
    ],
)
def test_a_monitor_that_lags_or_has_not_caught_up_since_its_start_fails(own: dict[str, Any], outcome: str) -> None:
    assert checks({"monitor": own}, {}, [])[-1].outcome == outcome


def test_what_is_not_judged_or_does_not_count_is_said() -> None:
    streams = {
        "results": {"unreadable": {"failed": 2, "newer": 1}, "put_aside": [{"entry": "7-0", "reason": "newer"}]},
        "feedback": {"unreadable": {}, "put_aside": []},
    }
    monitored = {
        "versions": {"1": {"unwatched": None}, "2": {"unwatched": "reference"}, "3": {"unwatched": "detectors"}},
        "streams": streams,
        "monitor": {"lag_seconds": 0.1, "trouble": {"sentiment.0": "the snapshot is damaged"}},
    }
    _, *said, _, current = checks(monitored, {}, [])
    assert [(check.name, check.outcome, check.detail) for check in said] == [
        ("drift of version 2", "unknown", "not watched: no reference can be read"),
        ("drift of version 3", "unknown", "not watched: no detectors can be built by its reference"),
        ("entries of results", "unknown", "put aside: 2 failed, 1 newer; the newest: 7-0"),
    ]
    assert (current.outcome, "the snapshot is damaged" in current.detail) == ("FAILED", True)


def test_history_counts_a_corrected_label_once_with_its_newest_value_in_the_step_of_its_prediction() -> None:
    history = History(0, STEPS * MINUTE_MS)
    made = prediction_id(3 * MINUTE_MS, 1)
    first, second = feedback(True, id=made), feedback(False, id=made, previous_label="positive")
    late_ms = STEPS * MINUTE_MS
    history.add_feedback([(f"{late_ms}-{n}", _wire(one)) for n, one in enumerate((first, second))])
    rows = history.over_time()
    assert [row["labels"] for row in rows] == [0, 0, 0, 1, *[0] * (STEPS - 4)]
    assert rows[3]["accuracy"] == 0
    assert history.confusion()["negative"]["positive"] == 1


def test_history_leaves_out_shadows_evaluation_runs_and_what_it_cannot_read() -> None:
    history = History(0, STEPS * MINUTE_MS)
    kinds = [result(), result(role="shadow"), result(tags={"evaluation": "r"}), result(status="error", label=None)]
    history.add_results([(f"5-{n}", _wire(one)) for n, one in enumerate(kinds)])
    history.add_results([("5-9", {b"id": b"?"})])
    assert (sum(history.answers), sum(history.errors), history.unreadable) == (1, 1, 1)


def _wire(event: Any) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in event.to_fields().items()}

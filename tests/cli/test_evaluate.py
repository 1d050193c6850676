"""``evaluate`` against a stub of gateway and monitor over HTTP."""

import json
import random
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from broker.labelled import LabelledText
from cli.scorecard import write_metrics
from cli.sending import BYTES_PER_CALL, TEXTS_PER_CALL, calls_of
from tests.cli.commands import Just
from tests.cli.stub_gateway import StubGateway, right_answer

Evaluate = Callable[..., tuple[int, str, str, dict[str, Any]]]


@pytest.fixture
def evaluate(just: Just, tmp_path: Path) -> Evaluate:
    """Evaluate rows of (text, label): status, output, errors, and the metrics file."""

    def run(rows: list[tuple[str, str]], *options: str) -> tuple[int, str, str, dict[str, Any]]:
        file, metrics = tmp_path / "rows.json", tmp_path / "reports" / "metrics.json"
        file.write_text(json.dumps([{"text": text, "true_sentiment": label} for text, label in rows]))
        outcome = just("evaluate", str(file), "--output", str(metrics), *options)
        return *outcome, json.loads(metrics.read_text()) if metrics.exists() else {}

    return run


def some_rows(count: int) -> list[tuple[str, str]]:
    chance = random.Random(5)
    texts = [f"{'good' if chance.random() < 0.5 else 'poor'} {number}" for number in range(count)]
    return [(text, right_answer(text) if chance.random() < 0.8 else "positive") for text in texts]


@pytest.mark.usefixtures("stub")
def test_accuracy_is_that_of_the_model_and_of_the_monitor(evaluate: Evaluate) -> None:
    rows = some_rows(150)
    offline = sum(right_answer(text) == label for text, label in rows)
    status, out, err, metrics = evaluate(rows)
    assert (status, err) == (0, "")
    assert (metrics["correct"], metrics["count"], metrics["failed"]) == (offline, 150, 0)
    assert metrics["accuracy"] == pytest.approx(offline / 150)
    assert metrics["monitor"] == {"accuracy": metrics["accuracy"], "count": 150}
    assert f"{100 * offline / 150:.1f} %" in out
    assert "150 texts of this run" in out
    assert sum(map(sum, metrics["confusion"])) == 150
    assert metrics["versions"] == {"v1": 150}
    assert metrics["run_id"] in out


def test_texts_travel_with_their_labels_and_the_run_as_a_tag(stub: StubGateway, evaluate: Evaluate) -> None:
    rows = some_rows(70)
    _, _, _, metrics = evaluate(rows, "--concurrency", "1")
    assert [len(body["texts"]) for body in stub.bodies] == [32, 32, 6]
    sent = [pair for body in stub.bodies for pair in zip(body["texts"], body["true_label"], strict=True)]
    assert sent == rows
    assert {body["tags"]["evaluation"] for body in stub.bodies} == {metrics["run_id"]}
    assert len(metrics["run_id"]) <= 64


def test_a_busy_gateway_is_asked_again_as_it_says_and_nothing_counts_twice(
    stub: StubGateway, evaluate: Evaluate
) -> None:
    stub.refusals.extend([(503, "overloaded", "0")] * 3)
    stub.lost_answers = 2
    status, _, err, metrics = evaluate(some_rows(100))
    assert (status, err) == (0, "")
    assert metrics["count"] == metrics["monitor"]["count"] == 100
    assert sum(len(body["texts"]) for body in stub.bodies) == 100
    assert len(stub.attempts) == 4 + 3 + 2
    assert len(set(stub.attempts)) == 4


def test_ctrl_c_says_what_was_answered_and_the_run_goes_on_without_counting_twice(
    stub: StubGateway, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, ended = stub.predict, threading.Event()

    def stopping(body: dict[str, Any], key: str | None) -> Response:
        if len(stub.attempts) == 2:
            # To the thread that a terminal's Ctrl-C would wake: another may get what is sent to the process.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            ended.wait(30)
        return answer(body, key)

    rows = some_rows(150)
    with monkeypatch.context() as patched:
        patched.setattr(stub, "predict", stopping)
        status, out, err, metrics = evaluate(rows, "--concurrency", "1")
        ended.set()
    assert (status, out, metrics) == (130, "", {})
    said = re.search(r"stopped: 64 of 150 texts are answered, .* as run (\S+)\n", err)
    assert said, err
    assert f"the same command with --run {said[1]}" in err
    status, _, _, metrics = evaluate(rows, "--run", said[1])
    assert (status, metrics["run_id"], metrics["count"]) == (0, said[1], 150)
    assert sum(len(body["texts"]) for body in stub.bodies) == 150
    with pytest.raises(SystemExit):
        evaluate(rows, "--run", "other")


def test_an_answer_that_came_just_too_late_is_fetched_under_the_same_key(
    stub: StubGateway, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.sending.LATE_ANSWER_S", 0.01)
    stub.late = {"good 1"}
    status, _, _, metrics = evaluate([("good 1", "positive"), ("poor", "positive")])
    assert (status, metrics["count"], len(stub.bodies)) == (0, 2, 1)


def test_one_refused_text_does_not_spoil_its_call(stub: StubGateway, evaluate: Evaluate) -> None:
    stub.forbidden = "endless"
    rows = [*some_rows(40), ("endless", "positive")]
    status, out, _, metrics = evaluate(rows)
    assert status == 1
    assert (metrics["count"], metrics["failed"], metrics["monitor"]["count"]) == (40, 1, 40)
    assert "item 41: Title of too_long (422 too_long)" in out


@pytest.mark.usefixtures("stub")
def test_failed_rows_are_listed_and_set_the_status(evaluate: Evaluate) -> None:
    status, out, _, metrics = evaluate([("good", "positive"), ("crash", "positive")])
    assert status == 1
    assert (metrics["count"], metrics["failed"], metrics["accuracy"]) == (1, 1, 1.0)
    assert "item 2: inference_failed (502)" in out


@pytest.mark.usefixtures("stub")
def test_when_every_row_fails_no_accuracy_is_made_up(evaluate: Evaluate) -> None:
    status, out, _, metrics = evaluate([("crash", "positive")])
    assert status == 1
    assert (metrics["accuracy"], metrics["interval_95"], metrics["f1_macro"]) == (None, None, None)
    assert "no text was answered" in out


def test_a_monitor_that_counted_less_is_a_warning(
    stub: StubGateway, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.monitor.PATIENCE_S", 0.3)
    stub.counted_share = 0.5
    status, _, err, _ = evaluate(some_rows(10))
    assert status == 0
    assert "counted 5 of 10" in err


def test_a_monitor_that_judged_otherwise_is_a_warning(stub: StubGateway, evaluate: Evaluate) -> None:
    stub.misjudged = 1
    status, _, err, _ = evaluate([("good 1", "positive"), ("good 2", "negative")])
    assert status == 0
    assert "the monitor reports 1.0, the answers give 0.5" in err


@pytest.mark.usefixtures("stub")
def test_an_absent_monitor_is_said_and_is_no_failure(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVA_MONITOR_URL", "http://127.0.0.1:1")
    status, _, err, metrics = evaluate(some_rows(10))
    assert (status, metrics["monitor"]) == (0, None)
    assert "OBSERVA_MONITOR_URL" in err


def test_a_label_the_model_does_not_know_is_refused_before_anything_is_sent(
    stub: StubGateway, evaluate: Evaluate
) -> None:
    status, _, err, _ = evaluate([("good", "positive"), ("fine", "neutral")])
    assert status == 2
    assert "'neutral'" in err
    assert "'negative', 'positive'" in err
    assert not stub.attempts


def test_wrong_rows_refuse_the_file_or_are_left_out_and_listed_beside_the_report(
    stub: StubGateway, just: Just, tmp_path: Path
) -> None:
    file, output = tmp_path / "mine.csv", tmp_path / "reports" / "metrics.json"
    content = 'Review;stars\ngood;1\npoor;0\n;1\n"open;0\nfine;7\ngood too;1\n'
    file.write_text(content, encoding="utf-16")
    asked = ("evaluate", str(file), "--output", str(output), "--text", "review", "--label-field", "Stars")
    asked = (*asked, "--map", "0=negative,1=Positive")
    status, out, err = just(*asked)
    assert (status, out, stub.attempts, len(err.splitlines())) == (2, "", [], 1)
    assert "6 rows read, 3 used, 3 refused: line 4: Review is empty; line 5: a quote opens here" in err
    status, out, err = just(*asked, "--skip-bad")
    assert (status, err) == (0, "")
    for said in (
        f"{file}: CSV, semicolon, UTF-16\n6 rows read, 3 used, 3 refused\n",
        "'review' is 'Review', 'Stars' is 'stars'",
        "'Positive' is 'positive'",
        "3 of 3 texts answered",
        f"refused rows: {tmp_path / 'reports' / 'metrics.refused.txt'}",
    ):
        assert said in out
    listed = (tmp_path / "reports" / "metrics.refused.txt").read_text()
    assert [line.partition(":")[0] for line in listed.splitlines()] == ["line 4", "line 5", "line 6"]
    found = json.loads(output.read_text())["file"]
    assert (found["rows"], found["used"], found["refused"], found["found"]) == (6, 3, 3, "CSV, semicolon, UTF-16")


def test_a_mapping_that_cannot_be_read_is_said(just: Just) -> None:
    with pytest.raises(SystemExit):
        just("evaluate", "a.csv", "--map", "0:negative")
    with pytest.raises(SystemExit):
        just("evaluate", "a.csv", "--delimiter", "ab")


@pytest.mark.usefixtures("stub")
def test_a_model_that_is_not_served_is_answered_with_those_that_are(evaluate: Evaluate) -> None:
    status, _, err, _ = evaluate(some_rows(1), "--model", "other")
    assert status == 2
    assert "served are: sentiment" in err
    status, _, err, _ = evaluate(some_rows(1), "--version", "v9")
    assert status == 2
    assert "loaded are: v1" in err


def test_an_absent_gateway_is_one_line(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVA_GATEWAY_URL", "http://127.0.0.1:1")
    status, out, err, _ = evaluate(some_rows(1))
    assert (status, out, len(err.splitlines())) == (2, "", 1)


def test_a_gateway_that_stays_busy_ends_the_run_with_one_line(
    stub: StubGateway, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.sending.PATIENCE_S", 0.2)
    stub.refusals.extend([(503, "overloaded", "1")] * 50)
    status, out, err, metrics = evaluate(some_rows(100))
    assert (status, out, len(err.splitlines()), metrics) == (2, "", 1, {})


def test_an_output_that_cannot_be_written_is_found_before_anything_is_sent(
    stub: StubGateway, just: Just, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("text,true_sentiment\ngood,positive\n")
    status, _, err = just("evaluate", str(tmp_path / "a.csv"), "--output", str(tmp_path / "a.csv" / "metrics.json"))
    assert status == 2
    assert "--output" in err
    assert not stub.attempts


def test_calls_hold_every_row_once_within_both_limits() -> None:
    chance = random.Random(11)
    rows = [LabelledText(str(n), "ä" * chance.randint(1, 9_000), "positive") for n in range(300)]
    calls = list(calls_of(rows, "run"))
    assert [row for call in calls for row in call.rows] == rows
    assert len({call.key for call in calls}) == len(calls)
    for call in calls:
        assert 1 <= len(call.rows) <= TEXTS_PER_CALL
        assert len(call.rows) == 1 or sum(len(row.text.encode()) for row in call.rows) <= BYTES_PER_CALL


@pytest.mark.usefixtures("stub")
def test_the_example_file_can_be_evaluated(just: Just, tmp_path: Path) -> None:
    status, out, err = just("evaluate", "examples/test.json", "--output", str(tmp_path / "m.json"))
    assert (status, err) == (0, "")
    assert "60 of 60 texts answered" in out


def test_what_the_trainer_wrote_of_its_models_stays(tmp_path):
    file = tmp_path / "metrics.json"
    file.write_text('{"run_id": "old", "models": {"sentiment": {"accuracy": 0.87}}}')
    write_metrics(file, {"run_id": "new"})
    assert json.loads(file.read_text()) == {"run_id": "new", "models": {"sentiment": {"accuracy": 0.87}}}
    file.write_text("no JSON")
    write_metrics(file, {"run_id": "new"})
    assert json.loads(file.read_text()) == {"run_id": "new"}

"""``predict`` and ``feedback`` against a stub of the gateway."""

import json
from contextlib import closing

import pytest

from cli.api import predict_path
from cli.terminal import bar, columns, printable
from examples import client
from tests.cli.commands import Just
from tests.cli.stub_gateway import UNKNOWN_ID, StubGateway

ID = "sentiment.0.0192a0b0-1111-7000-8000-000000000000"


def test_a_text_gets_a_label_bars_times_and_an_id(stub: StubGateway, just: Just) -> None:
    status, out, err = just("predict", "a good film")
    assert (status, err) == (0, "")
    head, first, second, times, identity = out.splitlines()
    assert head == "positive  90.0 %  sentiment v1"
    assert first == "  positive  90.0 %  " + "█" * 27
    assert second == "  negative  10.0 %  " + "█" * 3
    assert times == "  queue 1.0 ms, inference 2.0 ms, total 3.0 ms"
    assert identity == "  id sentiment.0.1-0"
    assert stub.bodies == [{"text": "a good film"}]


def test_several_texts_travel_in_one_call(stub: StubGateway, just: Just) -> None:
    status, out, _ = just("predict", "good", "- two stars, it said", "--label", "positive", "--json")
    assert status == 0
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["positive", "negative"]
    assert stub.bodies == [{"texts": ["good", "- two stars, it said"], "true_label": ["positive", "positive"]}]


@pytest.mark.usefixtures("stub")
def test_one_failed_text_of_several_is_shown_and_sets_the_status(just: Just) -> None:
    status, out, _ = just("predict", "good", "crash")
    assert status == 1
    assert "positive" in out
    assert "failed: inference_failed (502)" in out


@pytest.mark.parametrize(
    ("model", "version", "path"),
    [
        (None, None, "/predict"),
        ("m", None, "/v1/models/m/predict"),
        ("m", "v1", "/v1/models/m/versions/v1/predict"),
    ],
)
def test_model_and_version_are_in_the_path(model: str | None, version: str | None, path: str) -> None:
    assert predict_path(model, version) == path


def test_a_version_without_a_model_means_the_default_model(stub: StubGateway, just: Just) -> None:
    assert just("predict", "good", "--version", "v1")[0] == 0
    assert stub.bodies


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("broker_unavailable", 503, "just up"),
        ("overloaded", 503, "just scale-workers"),
        ("too_long", 422, "too_long"),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(
    stub: StubGateway, just: Just, code: str, status: int, advice: str
) -> None:
    stub.refusals.append((status, code, "7"))
    left, out, err = just("predict", "good")
    assert (left, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert f"({status} {code})" in err
    assert advice in err


@pytest.mark.parametrize("login", ["", "me:secret@"])
def test_an_absent_gateway_is_one_line_that_says_just_up(
    just: Just, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setenv("OBSERVA_GATEWAY_URL", f"http://{login}127.0.0.1:1")
    assert just("predict", "good") == (
        2,
        "",
        "observa predict: no gateway answers at http://127.0.0.1:1; run: just up\n",
    )


@pytest.mark.usefixtures("stub")
def test_what_is_not_a_gateway_is_called_so(just: Just, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVA_MODEL", "other")
    status, _, err = just("predict", "good", "--version", "v1")
    assert status == 2
    assert "OBSERVA_GATEWAY_URL" in err


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://me:secret/x@host"])
def test_an_address_that_is_none_is_named(just: Just, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OBSERVA_GATEWAY_URL", url)
    status, _, err = just("predict", "good")
    assert status == 2
    assert "OBSERVA_GATEWAY_URL" in err
    assert "secret" not in err
    assert len(err.splitlines()) == 1


def test_a_text_that_is_not_unicode_is_one_line(stub: StubGateway, just: Just) -> None:
    status, _, err = just("predict", "\udcff")
    assert status == 2
    assert "Unicode" in err
    assert not stub.bodies


def test_feedback_is_recorded(stub: StubGateway, just: Just) -> None:
    status, out, _ = just("feedback", ID, "positive")
    assert (status, out) == (0, f"{ID} is positive: recorded\n")
    assert stub.feedback == [{"id": ID, "label": "positive"}]


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize(("identity", "said"), [("nonsense", "not a prediction's id"), (UNKNOWN_ID, "no prediction")])
def test_feedback_for_nothing_says_where_ids_are(just: Just, identity: str, said: str) -> None:
    status, _, err = just("feedback", identity, "positive")
    assert status == 2
    assert said in err
    assert "predict and log print" in err


@pytest.mark.usefixtures("stub")
def test_a_wrong_label_is_answered_with_the_right_ones(just: Just) -> None:
    status, _, err = just("feedback", ID, "great")
    assert status == 2
    assert "negative or positive" in err


@pytest.mark.parametrize(("share", "drawn"), [(0.0, ""), (1.0, "█" * 8), (0.5, "████"), (1 / 16, "▌")])
def test_a_bar_is_drawn_to_an_eighth(share: float, drawn: str) -> None:
    assert bar(share, 8) == drawn


def test_columns_are_aligned_and_nothing_is_cut() -> None:
    assert columns([("a", "1"), ("long", "100")], right=frozenset({1})) == ["a       1", "long  100"]


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b[0m\u202eb") == "a\\x1b[0m\\u202eb"


def test_the_example_client_does_what_it_shows(stub: StubGateway, capsys: pytest.CaptureFixture[str]) -> None:
    client.main()
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines()] == ["now", "many", "many", "later", "told"]
    assert len(stub.feedback) == 1


def test_the_example_client_repeats_under_one_key(stub: StubGateway) -> None:
    stub.refusals.append((503, "overloaded", "0"))
    stub.lost_answers = 1
    with closing(client.Observa(stub.url)) as observa:
        assert observa.predict("good")["label"] == "positive"
    assert len(stub.attempts) == 3
    assert len(set(stub.attempts)) == 1
    assert len(stub.bodies) == 1

"""The console's parts by themselves: what is read, what is shown, who is let in."""

import csv
import gzip
import io
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from console import answering, explaining, figures, file_tab
from console.banner import banner
from console.calls import Calls, TroubleError
from console.downloads import KEPT_S, Downloads
from console.guard import Guard
from console.sentences import ago, of_problem
from console.settings import ConsoleSettings
from console.texts import MOST_TEXTS, UnreadableError, read_texts
from gateway.problems import CODES

ANSWER = {
    "id": "sentiment.0.x",
    "model": "sentiment",
    "version": "1",
    "label": "<b>",
    "confidence": 0.7,
    "probabilities": {"<b>": 0.7, "other": 0.3},
    "truncated": False,
    "timing_ms": {"queue": 1.0, "inference": 2.0, "total": 3.0},
}
QUIET = {
    "model": "sentiment",
    "now_ms": 100_000,
    "alarms": [],
    "versions": {"1": {"target_accuracy": 0.8, "accuracy": {"1h": {"count": 0, "ratio": None}}}},
    "wanted": {"version": "1"},
    "monitor": {"groups": {}, "lag_seconds": 0.1, "snapshot_age_seconds": 1},
}


def report(**changes):
    return {"sentiment": {**QUIET, **changes}}


def accuracy(point, lower, upper, count):
    ratio = {"point": point, "lower": lower, "upper": upper}
    return {"1": {"target_accuracy": 0.8, "accuracy": {"1h": {"count": count, "ratio": ratio}}}}


def test_a_quiet_system_has_a_quiet_line():
    assert "All quiet" in banner(report(), None, None)
    assert 'role="status"' in banner(report(), None, None)
    assert "86.0 %" in banner(report(versions=accuracy(0.86, 0.8, 0.9, 200)), None, None)


def test_each_thing_that_is_wrong_is_said_in_words():
    common = {"version": "1", "severity": "ticket", "at_ms": 40_000}
    drift = [{**common, "detector": "psi", "feature": name, "summary": "x"} for name in ("words", "<tokens>", "words")]
    low = {**common, "detector": "e-sr", "feature": "accuracy/source=<b>", "summary": "source=<b> is below"}
    low["evidence"] = {"onset_ms": 20_000}
    groups = {"requests/workers": {"lag": 900, "pending": 100, "oldest_seconds": 44.0}}
    blind = {"groups": groups, "lag_seconds": 90.0, "snapshot_age_seconds": 300}
    said = banner(
        report(alarms=[*drift, low], monitor=blind, versions=accuracy(0.6, 0.5, 0.7, 100)), "No monitor.", "No gateway."
    )
    for words in (
        "No gateway",
        "Nobody sees",
        "source=&lt;b&gt; is below (began about 1 min ago, alarm 1 min ago)",
        "text length (words), &lt;tokens&gt; (alarm 1 min ago)",
        "1,000 requests wait",
        "blind",
    ):
        assert words in said
    assert "Accuracy is below its target of 80 %" in said
    assert 'role="alert"' in said


def test_a_model_that_is_not_judged_and_a_version_without_drift_are_said():
    troubled = {**QUIET["monitor"], "trouble": {"sentiment.0": "the snapshot is <damaged>"}}
    assert "judges nothing now: the snapshot is &lt;damaged&gt;" in banner(report(monitor=troubled), None, None)
    unwatched = {"windows": {}, "accuracy": {}, "over_time": [], "target_accuracy": None, "unwatched": "detectors"}
    delays = {"bounds": [1], "counts": [0, 0], "sum": 0.0}
    whole = {"versions": {"1": unwatched}, "feedback": {"delay_seconds": delays}, "now_ms": 0}
    assert "counted without drift: no detectors can be built" in figures.version_panels(whole, "1")


def test_a_few_labels_say_nothing_of_the_accuracy():
    assert "All quiet" in banner(report(versions=accuracy(0.2, 0.1, 0.5, 10)), None, None)


def test_what_comes_from_outside_is_text_and_no_markup():
    assert "&lt;b&gt;" in answering.picture(ANSWER, 0.5)
    assert "not sure" in answering.picture(ANSWER, 0.8)
    words = [{"text": "<i>fine</i> ", "weight": 1.0}, {"text": "day", "weight": -0.4}]
    found = {"label": "<b>", "words": words, "baseline": 0.0, "score": 0.6, "method": "partition"}
    shown = explaining.picture({**found, "evaluations": 9, "elapsed_ms": 10.0, "truncated": False})
    assert "<i>" not in shown
    assert "&lt;i&gt;fine&lt;/i&gt;" in shown


def test_without_data_every_panel_says_so():
    delays = {"bounds": [1], "counts": [0, 0], "sum": 0.0}
    empty = {"windows": {"since": {}}, "accuracy": {}, "over_time": [], "target_accuracy": None}
    whole = {"versions": {"1": empty}, "feedback": {"delay_seconds": delays}, "now_ms": 0}
    shown = figures.version_panels(whole, "1")
    assert shown.count("No data yet") >= 8
    assert "not met" in figures.version_panels(whole, "2")


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", "one\n\n two \n", ["one", "two"]),
        ("a.txt", 'one\x85"still, one\n[two]\n', ['one\x85"still, one', "[two]"]),
        ("a.txt", "id\ttext\n1\tone\n", ["one"]),
        ("a.csv", 'id,Text\n1,"a, b"\n2,c\n', ["a, b", "c"]),
        ("a.csv", "plain\nlines\n", ["plain", "lines"]),
        ("a.json", '[{"text": "x"}, "y"]', ["x", "y"]),
        ("a.json", '{"text": {"0": "x", "1": "y"}}', ["x", "y"]),
        ("a.jsonl", '{"text": "x"}\n{"text": "é"}\n', ["x", "é"]),
    ],
)
def test_texts_are_found_in_a_file(tmp_path, name, content, texts):
    file = tmp_path / name
    for encoded in (content.encode("utf-8-sig"), content.encode("utf-16"), gzip.compress(content.encode())):
        file.write_bytes(encoded)
        assert read_texts(file).texts == texts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b" \n"),
        ("a.json", b"{"),
        ("a.json", b'["x", 7]'),
        ("a.jsonl", b"x"),
        ("a.csv", b"id,review\n1,fine\n"),
        ("a.csv", b"id,text\n1,fine\n2,\n"),
        ("a.txt", b"a\n" * (MOST_TEXTS + 1)),
    ],
)
def test_a_file_without_texts_is_refused_in_a_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableError, match=r"\.$") as refused:
        read_texts(tmp_path / name)
    assert str(tmp_path) not in str(refused.value)


def test_what_is_found_in_a_file_is_said_before_it_is_classified(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("id;review\n1;<b>fine\n2;\n", encoding="utf-16")
    found = read_texts(file, "Review", skip_bad=True)
    assert found.texts == ["<b>fine"]
    shown = file_tab._look(str(file), "Review", True)
    for said in (
        "a.csv: CSV, semicolon, UTF-16",
        "2 rows read, 1 used, 1 refused",
        "line 3: review is empty",
        "&lt;b&gt;",
    ):
        assert said in shown
    assert "line 3: review is empty" in file_tab._look(str(file), "review", False)
    assert file.exists()
    assert file_tab._take(str(file), "review", True).texts == ["<b>fine"]
    assert not file.exists()


def test_results_are_kept_for_a_while_and_hold_no_formula(monkeypatch):
    downloads = Downloads()
    name = downloads.keep(("text",), [("=1+1",), ("fine",)])
    assert list(csv.reader(io.StringIO((downloads.find(name) or b"").decode()))) == [["text"], ["'=1+1"], ["fine"]]
    assert downloads.find("other") is None
    later = time.monotonic() + KEPT_S + 1
    monkeypatch.setattr("console.downloads.time.monotonic", lambda: later)
    assert downloads.find(name) is None


def test_every_problem_of_the_gateway_has_a_sentence():
    for code, (status, title) in CODES.items():
        assert of_problem(code, status, {"title": title}).endswith(".")


@pytest.mark.parametrize(("seconds", "said"), [(None, "never"), (3, "3 s ago"), (90, "2 min ago"), (90_000, "1 d ago")])
def test_an_age_is_said_in_its_unit(seconds, said):
    assert ago(seconds) == said


async def test_who_does_not_answer_is_named_without_its_password():
    calls = Calls(ConsoleSettings(console_gateway_url="http://me:secret@127.0.0.1:1"))
    with pytest.raises(TroubleError, match=r"The gateway at http://127.0.0.1:1 cannot be reached"):
        await calls.predict_one("a", "sentiment", None, 0.5)
    assert not await calls.answers("http://127.0.0.1:1")


@pytest.fixture
def guarded():
    async def anything(_):
        return PlainTextResponse("inside", headers={"x-frame-options": "ALLOWALL"})

    settings = ConsoleSettings(console_grafana_url="http://grafana.example:3000/d/observa?kiosk")
    app = Guard(Starlette(routes=[Route("/{path:path}", anything, methods=["GET", "POST"])]), settings)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:7860")


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", "/assets/index-x.js", "/gradio_api/queue/join"])
async def test_what_the_page_needs_is_there(guarded, path):
    assert (await guarded.get(path)).text == "inside"


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/openapi.json",
        "/gradio_api/info",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/stream/x",
        "/gradio_api/mcp/sse",
        "/gradio_api/runs",
        "/monitoring",
        "/assets/../app.py",
    ],
)
async def test_what_it_does_not_need_is_not(guarded, path):
    request = guarded.build_request("GET", "http://127.0.0.1:7860" + path.replace("..", "%2e%2e"))
    assert (await guarded.send(request)).status_code == 404


async def test_other_names_and_other_sites_are_refused(guarded):
    assert (await guarded.get("/", headers={"host": "evil.example"})).status_code == 421
    join = "/gradio_api/queue/join"
    assert (await guarded.post(join, headers={"sec-fetch-site": "cross-site"})).status_code == 403
    assert (await guarded.post(join, headers={"origin": "http://evil.example"})).status_code == 403
    assert (await guarded.post(join, headers={"origin": "http://127.0.0.1:7860"})).status_code == 200
    nameless = guarded.build_request("POST", join)
    del nameless.headers["host"]  # HTTP/1.0 lets a program leave it out
    assert (await guarded.send(nameless)).status_code == 200


async def test_only_the_configured_dashboard_may_be_framed(guarded):
    headers = (await guarded.get("/")).headers
    assert "frame-src http://grafana.example:3000;" in headers["content-security-policy"]
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://", "http://a;script-src *", "ftp://a", "http://a:b/c@d"]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="http"):
        ConsoleSettings(console_grafana_url=url)


def test_a_browser_is_sent_to_where_it_reaches_what_the_console_asks():
    settings = ConsoleSettings(
        console_published="http://gateway:9000=http://127.0.0.1:19000, http://grafana:3000=https://grafana.example"
    )
    assert settings.published("http://gateway:9000/docs") == "http://127.0.0.1:19000/docs"
    assert settings.published("http://grafana:3000") == "https://grafana.example"
    assert settings.published("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert settings.published("http://me:secret@127.0.0.1:5000/d?by=a@b") == "http://127.0.0.1:5000/d?by=a@b"
    with pytest.raises(ValueError, match="http"):
        ConsoleSettings(console_published="http://grafana:3000=http://a;script-src *")

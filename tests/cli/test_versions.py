"""``shadow``, ``canary``, ``compare`` and the gate of ``promote``, as a person runs them."""

import json
import random
import shutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from redis import Redis

from broker.announcements import Announcement, ServedVersion, workers_key
from broker.events import Feedback, Result
from broker.manifest import Canary, Pointer
from broker.streams import PredictionId, Tag, shadow_group
from tests.cli.commands import Just
from tests.servers import RedisServer

MODEL = "sentiment-linear"
TAG = Tag(MODEL)
SHIPPED = Path(__file__).parents[2] / "models" / MODEL
LABELS = ("negative", "positive")

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def store(tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with versions 1, which is live, and 2."""
    folder = tmp_path / "models" / MODEL
    for version in "12":
        shutil.copytree(SHIPPED / "1", folder / version)
        manifest = json.loads((folder / version / "model.json").read_text()) | {"version": version}
        (folder / version / "model.json").write_text(json.dumps(manifest))
    point(folder)
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    monkeypatch.setenv("OBSERVA_MODELS", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    return folder


def point(folder: Path, **more: object) -> None:
    (folder / "live.json").write_text(Pointer(version="1", generation=1, **more).model_dump_json())


def pointer(folder: Path) -> Pointer:
    return Pointer.model_validate_json((folder / "live.json").read_bytes())


@pytest.fixture
def look(server: RedisServer) -> Iterator[Redis]:
    with Redis(port=server.port, protocol=2) as client:
        yield client


def other(label: str) -> str:
    return LABELS[1 - LABELS.index(label)]


def answered(look: Redis, count: int, *, second: float, shadow: bool = True, seed: int = 1) -> list[str]:
    """Write labelled answers: version 1 is right for 80 %; where they differ, 2 is right for the share *second*."""
    rng, ids = random.Random(seed), []
    with look.pipeline(transaction=False) as pipeline:
        for _ in range(count):
            truth, identity = rng.choice(LABELS), str(PredictionId.new(TAG))
            first = truth if rng.random() < 0.8 else other(truth)
            said = {"1": first, "2": first}
            if rng.random() < 0.1:
                right = rng.random() < second
                said = {"1": other(truth) if right else truth, "2": truth if right else other(truth)}
            wanted = said if shadow else {(version := rng.choice("12")): said[version]}
            for version, label in wanted.items():
                role = ("shadow" if shadow else "canary") if version == "2" else "live"
                result = Result(
                    id=identity,
                    version=version,
                    role=role,
                    status="ok",
                    label=label,
                    label_id=LABELS.index(label),
                    confidence=round(rng.uniform(0.5, 1), 3),
                    queue_ms=1,
                    inference_ms=4 if version == "1" else 8,
                    batch_size=2,
                    worker="w",
                )
                pipeline.xadd(TAG.results, result.to_fields())
            version, label = next(iter(wanted.items()))
            feedback = Feedback(
                id=identity, label=truth, predicted=label, confidence=0.9, version=version, source="caller"
            )
            pipeline.xadd(TAG.feedback, feedback.to_fields())
            ids.append(identity)
        pipeline.execute()
    return ids


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_compare_shows_two_versions_side_by_side(just: Just, look: Redis) -> None:
    answered(look, 1500, second=0.8)
    status, out, _ = just("compare", MODEL, "1", "2")
    assert status == 0
    assert "McNemar" in out
    assert "agreement   90." in out or "agreement   89." in out
    found = json.loads(Path(f"reports/{MODEL}-1-2.json").read_text())
    assert found["versions"]["1"]["inference_ms"]["p50"] == 2
    assert found["versions"]["2"]["inference_ms"]["p50"] == 4
    assert found["versions"]["2"]["as_shadow"] == 1500
    assert found["labels"] == found["both"] == 1500
    assert found["mcnemar"]["only_second"] > found["mcnemar"]["only_first"]
    assert found["difference"]["lower"] < found["difference"]["mean"] < found["difference"]["upper"]
    confidences = [min(one["first_confidence"], one["second_confidence"]) for one in found["flips"]["surest"]]
    assert confidences == sorted(confidences, reverse=True)
    page = Page()
    page.feed(Path(f"reports/{MODEL}-1-2.html").read_text())
    assert {"svg", "table"} <= set(page.tags)
    assert "script" not in page.tags
    assert not page.links


def test_compare_as_json_writes_no_file_and_agrees_with_itself(just: Just, look: Redis) -> None:
    answered(look, 400, second=0.5, shadow=False)
    status, out, _ = just("compare", MODEL, "1", "2", "--json")
    found = json.loads(out)
    assert status == 0
    assert not Path("reports").exists()
    assert (found["both"], found["mcnemar"], found["gate"]["manner"]) == (0, None, "apart")
    assert sum(one["accuracy"]["labels"] for one in found["versions"].values()) > 390


def test_compare_says_what_to_do_where_a_version_answered_nothing(just: Just, look: Redis) -> None:
    answered(look, 5, second=0.5)
    status, _, err = just("compare", MODEL, "1", "3")
    assert status == 2
    assert f"just shadow {MODEL} 3" in err
    assert err.count("\n") == 1


def test_the_gate_promotes_a_version_that_is_no_worse(just: Just, store: Path, look: Redis) -> None:
    answered(look, 1500, second=0.8)
    point(store, shadows={"2": 1.0})
    status, out, err = just("promote", MODEL, "2", "--gate")
    assert status == 0, out + err
    assert "not worse by 1 point" in out
    assert pointer(store).version == "2"
    assert pointer(store).shadows == {}


def announce(look: Redis, *versions: str) -> None:
    """Say, as a worker does, which versions are loaded."""
    served = ServedVersion(labels=LABELS, max_length=128, digest="d", target_accuracy=0.8, metrics={})
    announcement = Announcement(
        worker="w",
        live="1",
        versions=dict.fromkeys(versions, served),
        texts_per_second=1,
        seen_ms=int(look.time()[0]) * 1000,
    )
    look.hset(workers_key(MODEL), "w", announcement.model_dump_json())


def test_a_canary_answers_nothing_until_every_worker_has_it_and_the_command_waits_for_that(
    just: Just, look: Redis, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.canary.WAIT_S", 0.5)
    announce(look, "1")
    status, out, err = just("canary", MODEL, "2", "20%")
    assert (status, out) == (1, "")
    assert "not every worker has sentiment-linear 2, so the live version answers all" in err
    loading = threading.Timer(1, announce, (look, "1", "2"))
    monkeypatch.setattr("cli.canary.WAIT_S", 20)
    loading.start()
    status, out, _ = just("canary", MODEL, "2", "20%")
    loading.join()
    assert (status, out.partition(";")[0]) == (0, "sentiment-linear 2 answers 20.0 % of the requests")
    assert pointer(store).canary == Canary(version="2", share=0.2)


def test_the_gate_switches_a_worse_canary_off_and_says_why(just: Just, store: Path, look: Redis) -> None:
    answered(look, 4000, second=0.0, shadow=False)
    point(store, canary=Canary(version="2", share=0.5))
    status, out, _ = just("promote", MODEL, "2", "--gate")
    assert status == 1
    assert "right less often by more than 1 point" in out
    assert "rolled back" in out
    assert (pointer(store).version, pointer(store).canary) == ("1", None)


def test_an_undecided_gate_changes_nothing_and_says_how_many_labels_it_needs(
    just: Just, store: Path, look: Redis
) -> None:
    answered(look, 200, second=0.5)
    point(store, shadows={"2": 1.0})
    status, out, _ = just("promote", MODEL, "2", "--after", "150")
    assert status == 3
    assert "it stays a shadow" in out
    assert "more labels are likely needed" in out
    assert pointer(store) == Pointer(version="1", generation=1, shadows={"2": 1.0})


def test_there_is_no_gate_without_a_comparison(just: Just) -> None:
    status, _, err = just("promote", MODEL, "2", "--gate")
    assert status == 2
    assert f"just shadow {MODEL} 2" in err
    assert err.count("\n") == 1


def test_a_version_that_fails_where_the_other_answers_is_found_out_without_labels(
    just: Just, store: Path, look: Redis
) -> None:
    with look.pipeline(transaction=False) as pipeline:
        for number in range(1000):
            one = Result(
                id=str(PredictionId.new(TAG)), version="1", status="ok", label="positive", queue_ms=1, worker="w"
            )
            failed = {"status": "error", "code": "inference_failed", "label": None} if number % 12 == 0 else {}
            pipeline.xadd(TAG.results, one.to_fields())
            shadow = one.model_copy(update={"version": "2", "role": "shadow"} | failed)
            pipeline.xadd(TAG.results, shadow.to_fields())
        pipeline.execute()
    point(store, shadows={"2": 1.0})
    status, out, _ = just("promote", MODEL, "2", "--gate")
    assert status == 1
    assert "fails on 8.4 % more of the texts" in out


def test_a_shadow_needs_texts_on_the_log(just: Just, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVA_STORE_TEXT", "none")
    status, _, err = just("shadow", MODEL, "2")
    assert status == 2
    assert "OBSERVA_STORE_TEXT=none" in err
    assert err.count("\n") == 1
    assert pointer(store).shadows == {}


def test_shadows_begin_are_listed_and_end(just: Just, store: Path, look: Redis) -> None:
    status, out, _ = just("shadow", MODEL, "2", "10%")
    assert status == 0
    assert "10.0 % of the requests" in out
    assert pointer(store).shadows == {"2": 0.1}
    look.xgroup_create(TAG.requests, shadow_group("2"), mkstream=True)
    look.hset(TAG.gaps, f"requests/{shadow_group('2')}", 7)
    status, out, _ = just("shadow", MODEL)
    assert out.splitlines()[1].split() == ["2", "10.0", "%", "0", "7"]
    status, out, _ = just("shadow", MODEL, "2", "--off")
    assert status == 0
    assert pointer(store).shadows == {}
    assert not look.xinfo_groups(TAG.requests)
    assert not look.hgetall(TAG.gaps)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shadow", MODEL, "1"), "is live"),
        (("shadow", MODEL, "9"), "9"),
        (("shadow", MODEL, "--off"), "just shadow MODEL VERSION --off"),
        (("canary", MODEL, "2"), "5%"),
        (("canary", MODEL, "2", "1.0"), "5%"),
        (("canary", MODEL, "1", "5%"), "is live"),
        (("compare", MODEL, "2", "2"), "name two"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    just: Just, store: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = pointer(store)
    status, _, err = just(*arguments)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert pointer(store) == before


@pytest.mark.parametrize("share", ["0", "1.5", "-3%", "much", "nan"])
def test_a_share_is_above_none_and_at_most_all(just: Just, share: str) -> None:
    with pytest.raises(SystemExit):
        just("shadow", MODEL, "2", share)

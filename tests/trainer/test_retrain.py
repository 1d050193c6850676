"""Labels that came to the running system become texts to learn from, and a version that is not live."""

# ruff: noqa: PLC0415 - imported inside, so that an environment without the libraries can still collect and skip these

import time

import pytest

from broker.archived import Part, mark_of
from broker.archived_rows import SCHEMAS, batch_of
from broker.archiving import ArchiveWriter
from broker.errors import SettingsError
from broker.events import Feedback, Request
from broker.store import Store
from broker.streams import PredictionId, Tag
from tests.trainer.made import LABELS, LINEAR, labelled_csv, made_examples, params_with
from trainer.data import DataError
from trainer.datasets import collected, read_dataset
from trainer.feedback import rows, since_ms
from trainer.rows import Row
from trainer.settings import TrainerSettings

TAG = Tag("made")


@pytest.fixture
def log(server, monkeypatch, tmp_path):
    """What a stopped archiver left in files, and what came since, on the log alone."""
    from redis import Redis

    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    monkeypatch.setenv("OBSERVA_ARCHIVE", str(tmp_path / "archive"))
    with Redis(port=server.port) as client:
        yield client


def send(client, text: str, label: str | None, **tags: str) -> str:
    identity = str(PredictionId.new(TAG))
    client.xadd(TAG.requests, Request(id=identity, text=text, tags=tags).to_fields())
    if label is not None:
        judge(client, identity, label, **tags)
    return identity


def judge(client, identity: str, label: str, **tags: str) -> None:
    judged = Feedback(
        id=identity, label=label, predicted="positive", confidence=0.9, version="1", source="caller", tags=tags
    )
    client.xadd(TAG.feedback, judged.to_fields())


def put_away(client, folder, kinds=("requests", "feedback")) -> None:
    """Move what is on the log into the archive."""
    archive = ArchiveWriter(str(folder))
    archive.prepare()
    for kind in kinds:
        entries = [(entry_id.decode(), fields) for entry_id, fields in client.xrange(TAG.key(kind))]
        part = Part.of(TAG, kind, mark_of("0" * 16), [entry_id for entry_id, _ in entries])
        import pyarrow as pa

        archive.write(part, pa.Table.from_batches([batch_of(TAG, kind, entries)], SCHEMAS[kind]))
        client.xtrim(TAG.key(kind), maxlen=0)


def test_texts_from_log_and_archive_meet_their_last_labels_the_newest_first(log, tmp_path):
    first = send(log, "of the archive, labelled late", None)
    send(log, "never labelled", None)
    send(log, "corrected", "negative")
    corrected = log.xrange(TAG.feedback)[0][1][b"id"].decode()
    send(log, "of a test run", "positive", evaluation="run-1")
    put_away(log, tmp_path / "archive")
    judge(log, corrected, "positive")
    judge(log, first, "negative")
    send(log, "of the log", "positive")
    assert rows("made", "1d") == [
        Row("of the log", "positive"),
        Row("of the archive, labelled late", "negative"),
        Row("corrected", "positive"),
    ]


def test_a_date_names_the_labels_that_came_since(log):
    send(log, "good film", "positive")
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    assert rows("made", tomorrow) == []
    found = collected(f"feedback:made since {tomorrow}")
    assert (found.model, found.since) == ("made", tomorrow)
    assert collected("feedback:made since yesterday") is None
    assert since_ms("2026-11-23", 0) == 1_795_392_000_000
    with pytest.raises(DataError, match="holds no labelled text"):
        read_dataset(f"feedback:made since {tomorrow}", params_with({}, {}), None)


@pytest.mark.usefixtures("log")
def test_where_no_texts_are_kept_there_is_no_such_data_set(monkeypatch):
    monkeypatch.setenv("OBSERVA_STORE_TEXT", "none")
    with pytest.raises(SettingsError, match="removes each once it is answered"):
        rows("made", "1d")


@pytest.mark.trainer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(600)
def test_retraining_writes_a_version_that_learnt_from_the_labels_and_is_not_live(log, tmp_path):
    from trainer.app import train
    from trainer.retrain import retrain

    params = params_with({"made": labelled_csv(tmp_path / "made.csv", made_examples(200, 1))}, {}, made=LINEAR)
    settings = TrainerSettings(
        models=tmp_path / "models", trainer_cache=tmp_path / "cache", trainer_build=tmp_path / "build"
    )
    train("made", params, settings, version=None, live=False)
    send(log, "so far only this", "positive")
    with pytest.raises(DataError, match="1 labelled texts came since 1d, fewer than 50"):
        retrain("made", params, settings, since="1d", least=50)
    for number in range(80):
        send(log, f"splendid thing number {number} " if number % 2 else f"dreadful thing {number}", LABELS[number % 2])
    send(log, "of another model", "a label of another model")
    folder = retrain("made", params, settings, since="1d", least=50)
    assert folder.name == "2"
    assert Store(str(settings.models)).pointer("made").version == "1"
    words = (folder / "vocabulary.txt").read_text().split()
    assert {"splendid", "dreadful"} <= set(words)
    assert "accuracy_feedback" in Store(str(settings.models)).manifest("made", "2").metrics
    assert [path.name for path in settings.trainer_build.iterdir()] == ["made"]

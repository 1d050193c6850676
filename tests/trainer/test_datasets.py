from collections import Counter

import pytest

from broker.errors import SettingsError
from broker.text_files import UnreadableFileError
from tests.trainer.made import LABELS, params_with
from trainer.data import DataError
from trainer.datasets import examples, read_dataset, shared_out
from trainer.rows import Row
from trainer.sources import Hub, LocalFile, Ratings, Table
from trainer.splits import Example, bucket_of


def read(source, cache, archives=None):
    return read_dataset("made", params_with({"made": source}, archives or {}), cache)


def local(tmp_path, *lines: str, **more):
    file = tmp_path / "made.csv"
    file.write_text("\n".join(("text,label", *lines)) + "\n", encoding="utf-8")
    return LocalFile(source="file", path=str(file), **more)


def test_a_data_set_of_the_hub_is_read_with_the_names_of_its_labels(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415 absent where nothing is trained

    parquet.write_table(pyarrow.table({"text": ["a", "b", None], "label": [1, 0, 1]}), tmp_path / "0000.parquet")
    monkeypatch.setattr("trainer.hub._files", lambda *_: [tmp_path / "0000.parquet"])
    source = Hub(source="hub", name="owner/made", test=None, names=LABELS, skip_bad=True)
    assert [(row.text, row.label) for row in read(source, tmp_path).rows] == [("a", "positive"), ("b", "negative")]
    assert (tmp_path / "train-0000.refused.txt").read_text() == "row 3: text is missing\n"
    few = Hub(source="hub", name="owner/made", test=None, names=LABELS[:1], skip_bad=False)
    with pytest.raises(UnreadableFileError, match="row 1: the label '1' is unknown; the labels are 'negative'"):
        read(few, tmp_path)


def test_ratings_become_labels_and_one_near_zero_is_none(measurements, tmp_path):
    lines = "1\t2.5\tA fine film\r\n2\t-1.5\tdull\twith a tab\r\n3\t0.49\tso so\r\n\r\n4\t0.5\tso so\r\n"
    pinned, _ = measurements({"folder/made.txt": lines})
    source = Ratings(source="ratings", archive="vader", file="folder/made.txt", least_rating=0.5)
    found = read(source, tmp_path, {"vader": pinned})
    assert examples(found, LABELS) == [
        Example("A fine film", 1),
        Example("dull\twith a tab", 0),
        Example("so so", 1),
    ]


def test_an_archive_without_the_named_file_is_refused(measurements, tmp_path):
    pinned, _ = measurements({"folder/made.txt": ""})
    source = Ratings(source="ratings", archive="vader", file="absent.txt", least_rating=0.5)
    with pytest.raises(DataError, match=r"holds no file absent\.txt"):
        read(source, tmp_path, {"vader": pinned})


def test_a_published_test_part_stays_the_test_part(tabs, tmp_path):
    train = [(f"snippet {number}", "a") for number in range(50)]
    archive = tabs({"train.tab": [*train, ("Shared  text", "b")], "test.tab": [("shared text", "a"), ("other", "b")]})
    source = Table(source="tab", archive="tabs", train="train.tab", test="test.tab", split="published")
    found = read(source, tmp_path, {"tabs": archive})
    parts = shared_out(found, ("a", "b"))
    assert parts.test == [Example("shared text", 0), Example("other", 1)]
    assert {bucket_of(text) < 10 for text, _ in parts.valid} == {True}
    assert len(parts.train) + len(parts.valid) == 50
    assert found.left_out == {"contradicted": 1}


def test_repetitions_are_left_out_and_counted(tmp_path):
    found = read(local(tmp_path, "Good  film,positive", "good film,positive", "GOOD FILM,negative"), tmp_path)
    assert found.rows == (Row("Good  film", "positive", origin="positive"),)
    assert found.left_out == {"repeated": 1, "contradicted": 1}


def test_a_wrong_row_refuses_the_file_or_is_left_out_counted_and_listed(tmp_path, capsys):
    lines = ("a,positive", " ,negative", '"open,negative', "b,negative")
    with pytest.raises(UnreadableFileError, match="line 3: text is empty; line 4: a quote opens here"):
        read(local(tmp_path, *lines), tmp_path)
    found = read(local(tmp_path, *lines, skip_bad=True), tmp_path)
    assert [row.text for row in found.rows] == ["a", "b"]
    said = capsys.readouterr().out
    assert "4 rows read, 2 used, 2 refused" in said
    listed = tmp_path / "made.csv.refused.txt"
    assert f"refused rows: {listed}" in said
    assert listed.read_text().startswith("line 3: text is empty\nline 4: ")


def test_what_a_file_says_of_itself_can_be_overruled(tmp_path):
    file = tmp_path / "made.txt"
    file.write_bytes("чудо~да".encode("cp1251"))
    source = LocalFile(
        source="file",
        path=str(file),
        text="1",
        label="2",
        header=False,
        encoding="cp1251",
        delimiter="~",
        quotes="none",
    )
    assert read(source, tmp_path).rows == (Row("чудо", "да", origin="да"),)


def test_labels_are_found_whatever_their_case_and_it_is_said(tmp_path, capsys):
    renamed = read(local(tmp_path, "a,True", "b,FALSE", relabel={"true": "Positive", "false": "negative"}), tmp_path)
    assert examples(renamed, LABELS) == [Example("a", 1), Example("b", 0)]
    said = capsys.readouterr().out
    assert "'True' is 'true', 'FALSE' is 'false'" in said
    assert "data set made: without regard to case and spaces: 'Positive' is 'positive'" in said


def test_labels_may_be_renamed_and_others_left_out(tmp_path):
    source = local(tmp_path, "a,1", "b,0", "c,7", relabel={"1": "positive", "0": "negative"})
    found = read(source, tmp_path)
    assert [row.label for row in found.rows] == ["positive", "negative"]
    assert found.left_out == {"other_label": 1}


def test_an_unknown_label_is_named_with_its_count(tmp_path):
    found = read(local(tmp_path, "a,positive", "b,neutral", "c,neutral"), tmp_path)
    with pytest.raises(DataError, match=r"made has labels that the model does not know: 'neutral' \(2\); use relabel"):
        examples(found, LABELS)


def test_an_excerpt_is_the_first_words_and_always_the_same(tmp_path):
    words = [f"w{number}" for number in range(40)]
    source = local(tmp_path, f"re {' '.join(words)},positive", drop_words=("re",), excerpt=(3, 9))
    first, again = read(source, tmp_path).rows[0].text, read(source, tmp_path).rows[0].text
    assert first == again
    assert 3 <= len(first.split()) <= 9
    assert first.split() == words[: len(first.split())]


def test_a_sample_holds_the_same_texts_whatever_their_order(tmp_path):
    lines = [f"text {number},{'positive' if number % 3 else 'negative'}" for number in range(30)]
    source = local(tmp_path, *lines, most_per_label=5)
    first = set(read(source, tmp_path).rows)
    again = set(read(local(tmp_path, *lines[::-1], most_per_label=5), tmp_path).rows)
    assert first == again
    assert len(first) == 10


def test_a_sample_draws_from_each_of_the_labels_that_became_one(tmp_path):
    lines = [f"text {number},{'rare' if number % 10 == 0 else 'often'}" for number in range(50)]
    renamed = {"rare": "positive", "often": "positive"}
    found = read(local(tmp_path, *lines, most_per_label=8, relabel=renamed), tmp_path)
    assert Counter(row.origin for row in found.rows) == {"rare": 4, "often": 4}


def test_a_digest_that_is_pinned_must_be_found(tmp_path):
    digest = read(local(tmp_path, "a,positive"), tmp_path).digest
    assert read(local(tmp_path, "a,positive", digest=digest), tmp_path).digest == digest
    with pytest.raises(DataError, match=r"its digest is [0-9a-f]{64}, params\.yaml pins 0{64}; one must change"):
        read(local(tmp_path, "a,positive", digest="0" * 64), tmp_path)


def test_only_empty_texts_are_no_data_set(tmp_path):
    with pytest.raises(UnreadableFileError, match="2 rows read, 0 used, 2 refused"):
        read(local(tmp_path, " ,positive", ",negative", skip_bad=True), tmp_path)
    with pytest.raises(DataError, match=r"data set made holds no labelled text; left out: \{'other_label': 1\}"):
        read(local(tmp_path, "a,other", relabel={"1": "positive"}), tmp_path)


def test_a_name_that_params_does_not_know_is_refused_with_those_it_knows(tmp_path):
    with pytest.raises(SettingsError, match=r"no data set 'absent'; it has made"):
        read_dataset("absent", params_with({"made": local(tmp_path)}, {}), tmp_path)


def test_all_of_a_data_set_may_be_for_judging(tmp_path):
    parts = shared_out(read(local(tmp_path, "a,positive", "b,negative", split="test"), tmp_path), LABELS)
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (0, 0, 2)

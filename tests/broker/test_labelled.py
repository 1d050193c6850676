"""Files of labelled texts: what is read, and what is said of a file that cannot be."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cli.labelled import LabelledFile, UnreadableFileError, read_labelled

GOOD = [{"text": "fine", "true_sentiment": "positive"}, {"text": 'über, "so"\nso', "true_sentiment": "negative"}]
PAIRS = [("fine", "positive"), ('über, "so"\nso', "negative")]


def read(path: Path, content: str | bytes, text_field: str = "text", label: str = "true_sentiment") -> LabelledFile:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labelled(path, text_field, label)


def pairs(file: LabelledFile) -> list[tuple[str, str]]:
    return [(row.text, row.label) for row in file.rows]


def refusal(path: Path, content: str | bytes) -> str:
    with pytest.raises(UnreadableFileError) as error:
        read(path, content)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(GOOD)),
        ("a.json", "\n".join(json.dumps(row) for row in GOOD)),
        ("a.jsonl", "\n\n".join(json.dumps(row, ensure_ascii=False) for row in GOOD) + "\n"),
        ("a.ndjson", "\r\n".join(json.dumps(row) for row in GOOD)),
        ("a.csv", 'text,true_sentiment\nfine,positive\n"über, ""so""\nso",negative\n'),
        ("a.CSV", '\ufeffid,true_sentiment,text\r\n1,positive,fine\r\n2,negative,"über, ""so""\nso"\r\n'),
    ],
)
def test_json_lines_and_csv_say_the_same(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert pairs(read(tmp_path / name, content)) == PAIRS


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    file = read(tmp_path / "a.csv", "review,stars\nfine,five\n", "review", "stars")
    assert pairs(file) == [("fine", "five")]
    assert file.labels == ["five"]


def test_the_digest_is_of_the_bytes_on_disk(tmp_path: Path) -> None:
    content = json.dumps(GOOD).encode()
    assert read(tmp_path / "a.json", content).sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
@pytest.mark.parametrize("content", ["", " \n \n", "\ufeff"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert "empty" in refusal(tmp_path / name, content)


@pytest.mark.parametrize(("name", "content"), [("a.json", "[]"), ("a.csv", "text,true_sentiment\n")])
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert "no rows" in refusal(tmp_path / name, content)


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_a_missing_column_is_named_beside_those_that_are_there(tmp_path: Path, name: str) -> None:
    content = "review,stars\nfine,five\n" if name == "a.csv" else '[{"review": "fine", "stars": "five"}]'
    message = refusal(tmp_path / name, content)
    assert "no text and no true_sentiment" in message
    assert "review, stars" in message


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.json", '[{"text": "a",\n "true_sentiment": }]', "line 2"),
        ("a.jsonl", '{"text": "a", "true_sentiment": "positive"}\n{"text": \n', "line 2"),
        ("a.csv", 'text,true_sentiment\n"never closed,positive\n', "line"),
        ("a.json", '[{"text": "a", "true_sentiment": "positive"}, 7]', "item 2"),
        ("a.json", b'[{"text": "a"},\n{"text": "\xff"}]', "line 2 is not UTF-8"),
        ("a.txt", "x", ".csv"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, where: str
) -> None:
    assert where in refusal(tmp_path / name, content)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"text": " \u200b", "true_sentiment": "positive"}, "text is empty"),
        ({"text": 5, "true_sentiment": "positive"}, "text is not a string"),
        ({"true_sentiment": "positive"}, "text is missing"),
        ({"text": "a" * 10_001, "true_sentiment": "positive"}, "text has 10001 characters"),
        ({"text": "a\0b", "true_sentiment": "positive"}, "text has a NUL"),
        ({"text": "a", "true_sentiment": None}, "true_sentiment is missing"),
        ({"text": "a", "true_sentiment": 1}, "true_sentiment is not a string"),
    ],
)
def test_a_wrong_value_is_said_with_its_row(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    message = refusal(tmp_path / "a.json", json.dumps([GOOD[0], row]))
    assert f"item 2: {fault}" in message


def test_a_short_csv_row_lacks_its_label(tmp_path: Path) -> None:
    assert "line 3: true_sentiment is missing" in refusal(tmp_path / "a.csv", "text,true_sentiment\na,positive\nb\n")


def test_many_wrong_rows_are_counted_not_listed(tmp_path: Path) -> None:
    rows = [GOOD[0], *[{"text": "", "true_sentiment": "positive"}] * 20]
    assert refusal(tmp_path / "a.json", json.dumps(rows)).endswith("and 15 more")


def test_a_missing_file_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="No such file"):
        read_labelled(tmp_path / "none.json", "text", "true_sentiment")


def test_the_example_file_is_readable_and_balanced() -> None:
    rows = read_labelled(Path("examples/test.json"), "text", "true_sentiment").rows
    assert len(rows) >= 40
    assert len({row.text for row in rows}) == len(rows)
    assert sum(row.label == "positive" for row in rows) == sum(row.label == "negative" for row in rows)

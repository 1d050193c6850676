import json

import pytest

from trainer.data import DataError
from trainer.rows import Row
from trainer.tables import rows

RECORDS = [{"review": "a joy, really", "sentiment": "positive"}, {"review": 'dull\n"plot"', "sentiment": "negative"}]
ROWS = [Row("a joy, really", "positive"), Row('dull\n"plot"', "negative")]


def read(path, text="review", label="sentiment"):
    return list(rows(path, text=text, label=label))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_csv_file_with_quotes_line_breaks_and_a_mark_of_its_encoding(tmp_path):
    content = '\ufeffid,review,sentiment\n1,"a joy, really",positive\n2,"dull\n""plot""", negative \n'
    assert read(write(tmp_path / "made.csv", content)) == ROWS


def test_json_lines(tmp_path):
    assert read(write(tmp_path / "made.jsonl", "\n\n".join(map(json.dumps, RECORDS)))) == ROWS


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415 absent where nothing is trained

    parquet.write_table(pyarrow.Table.from_pylist(RECORDS), tmp_path / "made.parquet")
    assert read(tmp_path / "made.parquet") == ROWS


def test_numbers_and_nulls_are_texts(tmp_path):
    path = write(tmp_path / "made.jsonl", '{"review": 12, "sentiment": 1}\n{"review": null, "sentiment": true}')
    assert read(path) == [Row("12", "1"), Row("", "True")]


def test_without_a_label_column_every_label_is_empty(tmp_path):
    assert read(write(tmp_path / "made.csv", "review\na joy\n"), label=None) == [Row("a joy", "")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("made.csv", "text,sentiment\na,b\n", r"has no column 'review' in record 1; it has 'text', 'sentiment'"),
        ("made.jsonl", '{"review": "a"}', r"has no column 'sentiment' in record 1"),
        ("made.csv", "", r"is empty; its first line must name the columns"),
        ("made.csv", b"review,sentiment\n\xff\xfe,a\n", r"is not UTF-8 \(byte 17\); save it as UTF-8"),
        ("made.jsonl", "{}\n{", r"made\.jsonl, line 2: not JSON"),
        ("made.jsonl", "[]", r"line 1: not a JSON object"),
        ("made.xlsx", "", r"the name must end in \.csv, \.tsv, \.jsonl, \.ndjson, \.parquet"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, name, content, reason):
    path = write(tmp_path / name, content)
    if name == "made.jsonl" and content.startswith("{}"):
        path.write_text('{"review": "a", "sentiment": "b"}\n{')
    with pytest.raises(DataError, match=reason) as refused:
        read(path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"absent\.csv cannot be read \(No such file or directory\)"):
        read(tmp_path / "absent.csv")


def test_a_parquet_file_that_is_cut_off_is_said_in_one_line(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"made\.parquet cannot be read: ") as refused:
        read(write(tmp_path / "made.parquet", b"PAR1 and no more"))
    assert "\n" not in str(refused.value)

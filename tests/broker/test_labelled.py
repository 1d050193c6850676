"""Files of labelled texts: what is read, what is said of it, and that every row is used or refused."""

import csv
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import json_rows, text_files
from broker.labelled import LabelledFile
from broker.tables import Asked
from broker.text_files import UnreadableFileError

GOOD = [{"text": "fine", "true_sentiment": "positive"}, {"text": 'über, "so"\nso', "true_sentiment": "negative"}]
PAIRS = [("fine", "positive"), ('über, "so"\nso', "negative")]
LABELS = ("negative", "positive")
ODD = "a\u2028b\x85c\x0cd\x0be\x1cf"  # what str.splitlines takes for ends of lines
HYPOTHESIS = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opened(path: Path, content: str | bytes, **asked: Any) -> LabelledFile:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return LabelledFile(path, Asked(**({"label": "true_sentiment"} | asked)))


def pairs(file: LabelledFile, labels: tuple[str, ...] | None = None) -> list[tuple[str, str]]:
    found = [(row.text, row.label) for row in file.rows(labels)]
    assert (file.read, file.used) == (len(found) + file.refused, len(found))
    return found


def read(path: Path, content: str | bytes, **asked: Any) -> list[tuple[str, str]]:
    return pairs(opened(path, content, **asked))


def refusal(path: Path, content: str | bytes, **asked: Any) -> str:
    with pytest.raises(UnreadableFileError) as error:
        read(path, content, **asked)
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
        ("a.jsonl", json.dumps(GOOD)),
        ("a.ndjson", "\r\n".join(json.dumps(row) for row in GOOD)),
        ("a", json.dumps(GOOD, indent=1)),
        ("a.txt", "\n".join(json.dumps(row) for row in GOOD)),
        ("a.csv", 'text,true_sentiment\nfine,positive\n"über, ""so""\nso",negative\n'),
        ("a.CSV", '\ufeffid,true_sentiment,text\r\n1,positive,fine\r\n2,negative,"über, ""so""\nso"\r\n'),
        ("a.tsv", 'text\ttrue_sentiment\nfine\tpositive\n"über, ""so""\nso"\tnegative\n'),
        ("a.csv", 'sep=;\r\ntext;true_sentiment\r\nfine;positive\r\n"über, ""so""\nso";negative\r\n'),
        ("a.dat", 'text|true_sentiment\nfine|positive\n"über, ""so""\nso"|negative\n'),
        ("a.csv", 'text,true_sentiment\nfine,positive\n"über, \\"so\\"\nso",negative\n'),
    ],
)
def test_json_and_delimited_text_say_the_same_in_every_encoding(tmp_path: Path, name: str, content: str) -> None:
    assert read(tmp_path / name, content) == PAIRS
    plain = content.removeprefix("\ufeff")
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"):
        assert read(tmp_path / name, plain.encode(encoding)) == PAIRS, encoding
    assert read(tmp_path / f"{name}.gz", gzip.compress(content.encode())) == PAIRS
    assert read(tmp_path / name, gzip.compress(content.encode())) == PAIRS


texts = st.text(st.sampled_from("ab \"',;\t|\n\r\\é€=#" + ODD), min_size=1, max_size=12).filter(
    lambda text: any(each in text for each in "abé")
)
rows = st.lists(st.tuples(texts, st.sampled_from(LABELS)), min_size=1, max_size=12)


@HYPOTHESIS
@given(
    rows=rows,
    dialect=st.fixed_dictionaries(
        {
            "delimiter": st.sampled_from(",;\t|"),
            "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
            "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        }
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    order=st.sampled_from([(0, 1), (1, 0)]),
)
def test_what_csv_writes_in_any_dialect_is_read_back_row_by_row(tmp_path, rows, dialect, encoding, order) -> None:
    if encoding == "cp1252":  # which has none of these; and where most letters are beyond ASCII, none is found
        rows = [(re.sub("[\x85\u2028]|(?<=[é€])[é€]+", "", text), label) for text, label in rows]
    if dialect["quoting"] == csv.QUOTE_MINIMAL and dialect["lineterminator"] == "\r":  # csv quotes no LF then
        rows = [(text.replace("\n", ""), label) for text, label in rows]
    out = io.StringIO()
    writer = csv.writer(out, **dialect)
    writer.writerows([tuple(row[at] for at in order) for row in [("text", "true_sentiment"), *rows]])
    assert read(tmp_path / "a.csv", out.getvalue().encode(encoding)) == rows


@HYPOTHESIS
@given(rows=rows, delimiter=st.sampled_from(",;\t|"), compression=st.sampled_from([None, "gzip", "bz2", "xz"]))
def test_what_pandas_writes_is_read_back_row_by_row(tmp_path: Path, rows, delimiter, compression) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows, columns=["text", "true_sentiment"])
    frame.to_csv(tmp_path / "a.csv", sep=delimiter, compression=compression, quoting=csv.QUOTE_ALL)
    assert pairs(LabelledFile(tmp_path / "a.csv", Asked(label="true_sentiment"))) == rows
    for orient in ("records", "columns", "index", "split", "table"):
        frame.to_json(tmp_path / "a.json", orient=orient, compression=compression, indent=len(rows) % 3)
        assert pairs(LabelledFile(tmp_path / "a.json", Asked(label="true_sentiment"))) == rows, orient
    frame.to_json(tmp_path / "a.json", orient="values", compression=compression)
    assert pairs(LabelledFile(tmp_path / "a.json", Asked(text="1", label="2"))) == rows
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True, compression=compression, force_ascii=False)
    assert pairs(LabelledFile(tmp_path / "a.jsonl", Asked(label="true_sentiment"))) == rows
    (tmp_path / "b.json").write_text(json.dumps(frame.to_dict("list")))
    assert pairs(LabelledFile(tmp_path / "b.json", Asked(label="true_sentiment"))) == rows


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415 absent in some rooms

    columns = {"text": ["a", "b", None, " "], "true_sentiment": [1, 0, 1, 0], "other": [[1], [], None, [2]]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    asked = Asked(label="true_sentiment", mapping={"0": "negative", "1": "positive"}, skip_bad=True)
    file = LabelledFile(tmp_path / "a.parquet", asked)
    assert pairs(file, LABELS) == [("a", "positive"), ("b", "negative")]
    assert file.wrong == ["row 3: text is missing", "row 4: text is empty"]
    assert "pyarrow" not in refusal(tmp_path / "b.parquet", b"PAR1 and no more")
    for name, content in (("none", (tmp_path / "a.parquet").read_bytes()), ("a.parquet.gz", None)):
        (tmp_path / name).write_bytes(content or gzip.compress((tmp_path / "a.parquet").read_bytes()))
        assert pairs(LabelledFile(tmp_path / name, asked)) == [("a", "positive"), ("b", "negative")]


def test_without_pyarrow_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "uv pip install --python" in refusal(tmp_path / "a.parquet", b"PAR1")


@HYPOTHESIS
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(st.sampled_from('text,true_sentiment\n"\r;[]{}:\\0 é\x00\udcff'), max_size=200).map(
            lambda text: b"text,true_sentiment\n" + text.encode("utf-8", "replace")
        ),
        st.text(st.sampled_from('text":,{}[]\n1 \\u0'), max_size=200).map(
            lambda text: b'{"text": "a", "true_sentiment": 1}\n' + text.encode()
        ),
    ),
    name=st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.parquet", "a", "a.csv.gz"]),
    packed=st.booleans(),
    lines=st.booleans(),
)
def test_rows_in_are_rows_used_and_rows_refused_whatever_the_bytes(tmp_path, content, name, packed, lines) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if packed else content)
    said = "none"
    try:
        file = LabelledFile(path, Asked(label=None if lines else "true_sentiment", lines=lines, skip_bad=True))
        used = list(file.rows(LABELS))
    except UnreadableFileError as error:
        said = str(error)
    else:
        assert (file.read, len(used), len(file.wrong)) == (file.used + file.refused, file.used, file.refused)
    assert "\n" not in said


@HYPOTHESIS
@given(cut=st.integers(1, 400), name=st.sampled_from(["a.csv.gz", "a.csv.bz2", "a.csv.xz"]))
def test_a_packed_file_that_is_cut_off_is_one_line(tmp_path: Path, cut: int, name: str) -> None:
    import bz2  # noqa: PLC0415
    import lzma  # noqa: PLC0415

    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[name.rpartition(".")[2]]
    whole = pack(b"text,true_sentiment\n" + b"".join(f"good {n},positive\n".encode() for n in range(999)))
    path = tmp_path / name
    path.write_bytes(whole[: -min(cut, len(whole) - 8)])
    with pytest.raises(UnreadableFileError) as error:
        list(LabelledFile(path, Asked(label="true_sentiment")).rows())
    assert "\n" not in str(error.value)


def test_what_only_some_take_for_an_end_of_a_line_is_a_character_of_the_text(tmp_path: Path) -> None:
    row = {"text": ODD, "true_sentiment": "positive"}
    assert read(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=False)) == [(ODD, "positive")]
    assert read(tmp_path / "a.csv", f"text,true_sentiment\n{ODD},positive\n") == [(ODD, "positive")]
    file = opened(tmp_path / "a.csv", f"text,true_sentiment\n{ODD},positive\n,positive\n", skip_bad=True)
    assert pairs(file) == [(ODD, "positive")]
    assert file.wrong == ["line 3: text is empty"]


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ({"quotechar": "'"}, "single quotes around cells"),
        ({"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL}, "within cells after a backslash"),
        ({"quoting": csv.QUOTE_NONE, "escapechar": "\\"}, "within cells after a backslash"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_rarer_dialects_are_found_by_what_fits(tmp_path: Path, dialect, said, delimiter) -> None:
    rows = [(f'a {delimiter} b\'s "{number}" c', "positive") for number in range(9)]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, **dialect).writerows([("text", "true_sentiment"), *rows])
    file = opened(tmp_path / "a.csv", out.getvalue())
    assert pairs(file) == rows
    assert said in file.found


def test_a_lone_cr_is_a_character_where_lines_end_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "text,true_sentiment\na\rb,positive\n") == [("a\rb", "positive")]
    assert read(tmp_path / "a.csv", "text,true_sentiment\ra,positive\r") == [("a", "positive")]


def test_an_unclosed_quote_is_a_fault_with_its_line_and_swallows_no_row(tmp_path: Path) -> None:
    lines = ["text,true_sentiment", *[f"good {n},positive" for n in range(400)]]
    lines[200] = '"never closed,positive'
    lines[300] = '"closed, and ""well""",negative'
    file = opened(tmp_path / "a.csv", "\n".join(lines) + "\n", skip_bad=True)
    assert len(pairs(file)) == 399
    [fault] = file.wrong
    assert fault.startswith("line 201: a quote opens here that is not closed")
    lines[350] = 'by chance closed here",negative'
    file = opened(tmp_path / "a.csv", "\n".join(lines).replace(lines[300], "plain,positive"), skip_bad=True)
    assert len(pairs(file)) == 399
    assert file.wrong == [fault]
    assert "line 201: a quote opens" in refusal(tmp_path / "a.csv", "\n".join(lines))


def test_rows_after_a_text_of_several_lines_keep_their_line_numbers(tmp_path: Path) -> None:
    content = (
        'text,true_sentiment\n"one\ntwo\r\nthree",positive\n,positive\n"a"b,positive\nfine,positive,4\nfine,negative\n'
    )
    file = opened(tmp_path / "a.csv", content, skip_bad=True)
    assert pairs(file) == [("one\ntwo\r\nthree", "positive"), ("fine", "negative")]
    assert [fault.partition(":")[0] for fault in file.wrong] == ["line 5", "line 6", "line 7"]


def test_quotes_that_are_characters_of_texts_between_tabs_are_kept(tmp_path: Path) -> None:
    content = "".join(f'ham\tHe said "{n}" to me\n' for n in range(9)) + 'spam\t"Unbalanced at the start\n'
    file = opened(tmp_path / "sms.txt", content, text="2", label="1", header=False)
    assert pairs(file)[-1] == ('"Unbalanced at the start', "spam")
    assert file.read == 10
    assert "quotes are characters" in file.found
    file = opened(tmp_path / "sms.txt", content, text="2", label="1", header=False, quotes="double", skip_bad=True)
    assert len(pairs(file)) == 9


def test_a_file_without_a_header_has_columns_by_number(tmp_path: Path) -> None:
    content = '"0","1467","Mon","NO_QUERY","me","awww, that\'s a bummer"\n"4","15","Mon","NO","you","fine"\n'
    asked = {"text": "6", "label": "1", "header": False, "mapping": {"0": "negative", "4": "positive"}}
    assert read(tmp_path / "a.csv", content, **asked) == [("awww, that's a bummer", "negative"), ("fine", "positive")]


def test_form_and_encoding_are_said(tmp_path: Path) -> None:
    rows = "text;true_sentiment\ncafé;positive\n"
    for content, said in (
        (rows.encode("utf-16"), "CSV, semicolon, UTF-16"),
        (rows.encode("cp1252"), "CSV, semicolon, cp1252, since it is not UTF-8"),
        (rows.encode("utf-8-sig"), "CSV, semicolon, UTF-8 with a byte order mark"),
        (gzip.compress(rows.encode()), "CSV, semicolon, UTF-8, gzip"),
    ):
        file = opened(tmp_path / "a.csv", content)
        assert pairs(file) == [("café", "positive")]
        assert file.said()[0].startswith(f"{tmp_path / 'a.csv'}: {said}")
        assert file.said()[1] == "1 rows read, 1 used, 0 refused"


def test_damaged_places_in_utf_8_cost_their_rows_alone(tmp_path: Path) -> None:
    content = "text,true_sentiment\ncafé é,positive\n".encode() + b"cut \xc3,positive\nfine,negative\n"
    file = opened(tmp_path / "a.csv", content, skip_bad=True)
    assert pairs(file) == [("café é", "positive"), ("fine", "negative")]
    assert file.wrong == ["line 3: text has bytes that are not of the file's encoding"]


def test_another_scripts_encoding_is_asked_for_and_not_guessed(tmp_path: Path) -> None:
    content = "text,true_sentiment\nдивный фильм,positive\n".encode("cp1251")
    assert "--encoding" in refusal(tmp_path / "a.csv", content)
    assert read(tmp_path / "a.csv", content, encoding="cp1251") == [("дивный фильм", "positive")]
    for name in ("klingon", "hex", "undefined", "a\0b"):
        assert "there is no encoding" in refusal(tmp_path / "a.csv", content, encoding=name)
    assert "cannot be read" in refusal(tmp_path / "a.csv", content, encoding="idna")


def test_names_fold_where_that_leaves_no_doubt_and_it_is_said_once(tmp_path: Path) -> None:
    content = "Text , TRUE_SENTIMENT\nfine,Positive \nbad,NEGATIVE\nso,Positive \n"
    file = opened(tmp_path / "a.csv", content)
    assert pairs(file, LABELS) == [("fine", "positive"), ("bad", "negative"), ("so", "positive")]
    said = "\n".join(file.said())
    assert said.count("'Positive' is 'positive'") == said.count("'text' is 'Text '") == 1
    assert "no text" in refusal(tmp_path / "a.csv", "Text,TEXT,true_sentiment\na,b,positive\n")
    file = opened(tmp_path / "a.csv", "text,true_sentiment\na,POS\n", skip_bad=True)
    with pytest.raises(UnreadableFileError, match="the label 'POS' is unknown; the labels are 'Pos', 'pos'"):
        pairs(file, ("Pos", "pos"))


def test_labels_are_mapped_whatever_their_type(tmp_path: Path) -> None:
    rows = [{"text": "a", "true_sentiment": label} for label in (True, False, 1, " yes", "true")]
    mapping = {"true": "positive", "FALSE": "negative", "1": "positive", "Yes": "positive"}
    file = opened(tmp_path / "a.json", json.dumps(rows), mapping=mapping)
    assert [label for _, label in pairs(file, LABELS)] == ["positive", "negative", *["positive"] * 3]


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "called 'text'" in refusal(tmp_path / "a.csv", "text,text,true_sentiment\na,b,positive\n")
    assert "names a field twice" in refusal(tmp_path / "a.jsonl", '{"text": "a", "text": "b", "true_sentiment": "x"}')
    split = '{"columns": ["text", "text"], "data": [["a", "b"]]}'
    assert "called 'text'" in refusal(tmp_path / "a.json", split)
    assert read(tmp_path / "spam.csv", "v1,v2,,,\nham,hi,,,\n", text="v2", label="v1") == [("hi", "ham")]


def test_a_record_of_a_million_characters_is_refused_and_reading_goes_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(text_files, "MOST_RECORD", 1000)
    monkeypatch.setattr(json_rows, "MOST_RECORD", 1000)
    long = "x" * 5000
    file = opened(tmp_path / "a.csv", f"text,true_sentiment\na,positive\n{long},positive\nb,negative\n", skip_bad=True)
    assert pairs(file) == [("a", "positive"), ("b", "negative")]
    assert file.wrong[0].startswith("line 3: is longer than")
    lines = [{"text": text, "true_sentiment": "positive"} for text in ("a", long, "b")]
    file = opened(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)), skip_bad=True)
    assert [text for text, _ in pairs(file)] == ["a", "b"]
    assert file.wrong == ["line 2: is longer than 1,000 characters"]


def test_a_json_document_that_is_too_large_says_what_to_write_instead(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(json_rows, "MOST_DOCUMENT", 50)
    assert "write JSON lines" in refusal(tmp_path / "a.json", json.dumps(GOOD))


def test_a_large_file_is_read_in_little_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wt", compresslevel=1) as file:
        file.write("text,true_sentiment\n")
        for _ in range(25):
            file.write(f"{'good and long ' * 70},positive\n" * 1000)
    code = (
        "import re, sys; from pathlib import Path; from broker.labelled import LabelledFile; "
        "from broker.tables import Asked; file = LabelledFile(Path(sys.argv[1]), Asked(label='true_sentiment')); "
        "print(sum(1 for _ in file.rows()), re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.csv.gz")], capture_output=True, text=True, check=True
    )
    rows, kilobytes = map(int, done.stdout.split())
    assert rows == 25_000
    assert kilobytes < 120_000


def test_the_digest_is_of_the_bytes_on_disk(tmp_path: Path) -> None:
    content = json.dumps(GOOD).encode()
    assert opened(tmp_path / "a.json", content).sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a"])
@pytest.mark.parametrize("content", ["", " \n \n", "\ufeff"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str, content: str) -> None:
    assert "empty" in refusal(tmp_path / name, content)


@pytest.mark.parametrize(("name", "content"), [("a.json", "[]"), ("a.csv", "text,true_sentiment\n"), ("a.json", "{}")])
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: str) -> None:
    assert "no rows" in refusal(tmp_path / name, content)


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_a_missing_column_is_named_beside_those_that_are_there(tmp_path: Path, name: str) -> None:
    content = "review,stars\nfine,five\n" if name == "a.csv" else '[{"review": "fine", "stars": "five"}]'
    message = refusal(tmp_path / name, content)
    assert "no text and no true_sentiment" in message
    assert "review, stars" in message
    assert read(tmp_path / name, content, text="review", label="stars") == [("fine", "five")]


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.json", '[{"text": "a",\n "true_sentiment": }]', "line 2"),
        ("a.jsonl", '{"text": "a", "true_sentiment": "positive"}\n{"text": \n', "line 2"),
        ("a.csv", 'text,true_sentiment\n"never closed,positive\n', "line 2"),
        ("a.json", '[{"text": "a", "true_sentiment": "positive"},\n 7]', "line 2, item 2"),
        ("a.json", b'[{"text": "a", "true_sentiment": "x"},\n{"text": "\xff"}]', "line 2, item 2"),
        ("a.json", "[" * 100_000, "no JSON that can be read"),
        ("a.json", '[{"text": "a", "true_sentiment": ' + "1" * 5000 + "}]", "no JSON that can be read"),
        ("a.json", '{"text": ["a"], "true_sentiment": []}', "differ in length"),
        ("a.json", '{"text": {"0": "a", "0": "b"}, "true_sentiment": {"0": "c"}}', "names a field twice"),
        (
            "a.json",
            '{"columns": ["text", "true_sentiment"], "data": [["a", "b"], ["a", "b", "c"]]}',
            "row 2: text is missing",
        ),
        ("a.json", '{"text": "a", "true_sentiment": "b"}\nno JSON', "line 2: column 1"),
        ("a.json", "[] x", "column 4: text follows"),
        ("a.json", "7", "neither a list nor an object"),
        ("a.csv", b"PK\x03\x04", "Excel"),
        ("a.txt", "x", "there is: x"),
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
        ({"text": ["a"], "true_sentiment": "positive"}, "text is not a string"),
        ({"text": None, "true_sentiment": "positive"}, "text is missing"),
        ({"text": float("nan"), "true_sentiment": "positive"}, "text is missing"),
        ({"true_sentiment": "positive"}, "text is missing"),
        ({"text": "a" * 10_001, "true_sentiment": "positive"}, "text has 10001 characters"),
        ({"text": "a\0b", "true_sentiment": "positive"}, "text has a NUL"),
        ({"text": "a\ud800b", "true_sentiment": "positive"}, "text has half a character"),
        ({"text": "a", "true_sentiment": None}, "true_sentiment is missing"),
        ({"text": "a", "true_sentiment": " "}, "true_sentiment is missing"),
        ({"text": "a", "true_sentiment": float("nan")}, "true_sentiment is missing"),
        ({"text": "a", "true_sentiment": 1.5}, "true_sentiment is not a string, an integer or a boolean"),
    ],
)
def test_a_wrong_value_is_said_with_its_row(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    message = refusal(tmp_path / "a.json", json.dumps([GOOD[0], row], indent=0))
    assert f"line 6, item 2: {fault}" in message
    assert "2 rows read, 1 used, 1 refused" in message
    assert "--skip-bad" in message


def test_a_short_csv_row_lacks_its_label(tmp_path: Path) -> None:
    assert "line 3: true_sentiment is missing" in refusal(tmp_path / "a.csv", "text,true_sentiment\na,positive\nb\n")


def test_many_wrong_rows_are_counted_and_listed_in_a_file(tmp_path: Path) -> None:
    rows = [GOOD[0], *[{"text": "", "true_sentiment": "positive"}] * 20]
    assert "; and 15 more;" in refusal(tmp_path / "a.json", json.dumps(rows))
    file = opened(tmp_path / "a.json", json.dumps(rows), skip_bad=True)
    assert len(pairs(file)) == 1
    listed = tmp_path / "reports" / "refused.txt"
    assert file.list_refused(listed) == [f"refused rows: {listed}"]
    assert len(listed.read_text().splitlines()) == 20
    file = opened(tmp_path / "a.json", json.dumps(GOOD))
    pairs(file)
    assert file.list_refused(listed) == []
    assert not listed.exists()


def test_where_no_row_can_be_used_the_file_is_refused(tmp_path: Path) -> None:
    assert "1 rows read, 0 used, 1 refused" in refusal(tmp_path / "a.csv", "text,true_sentiment\n,x\n", skip_bad=True)


def test_what_is_no_file_is_said_in_one_line(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.json", "No such file"),
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "no regular file"),
    ):
        with pytest.raises(UnreadableFileError, match=said):
            LabelledFile(path, Asked())


def test_the_example_file_is_readable_and_balanced() -> None:
    rows = list(LabelledFile(Path("examples/test.json"), Asked(label="true_sentiment")).rows())
    assert len(rows) >= 40
    assert len({row.text for row in rows}) == len(rows)
    assert sum(row.label == "positive" for row in rows) == sum(row.label == "negative" for row in rows)

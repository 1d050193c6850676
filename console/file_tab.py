"""The tab that classifies the texts of a file."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import gradio as gr

from console import markup
from console.calls import Calls, Document, TroubleError
from console.downloads import Downloads
from console.parts import QUIET, Choice
from console.sentences import percent
from console.texts import Found, UnreadableError, read_texts

MOST_AT_ONCE: Final = 16
MOST_BYTES: Final = 40_000  # of texts in one call; the gateway takes 64 KB of JSON
MOST_SHOWN: Final = 100
MOST_FIRST: Final = 3
MOST_WRONG: Final = 5
HEADS: Final = ("text", "label", "confidence", "not_sure", "id", "error")


def build(calls: Calls, downloads: Downloads, choice: Choice) -> None:
    """Put the tab together."""
    gr.HTML('<p class="soft">One text a line, or a table: CSV, JSON, Parquet; up to 2 000 texts.</p>')
    with gr.Row():
        file = gr.File(label="File", elem_id="file", height=140)
        column = gr.Textbox("text", label="Column of the texts (--text)", elem_id="column")
        skip_bad = gr.Checkbox(label="Leave wrong rows out (--skip-bad)", elem_id="skip-bad")
        threshold = gr.Slider(0, 1, 0.6, step=0.01, label="Threshold: below it, not sure")
    with gr.Row():
        start = gr.Button("Classify the file", variant="primary", elem_id="classify")
        stop = gr.Button("Stop", elem_id="stop")
    found = gr.HTML("", elem_id="found")
    for event in (file.change, column.change, skip_bad.change):
        event(_look, [file, column, skip_bad], found, **QUIET)
    table = gr.HTML(markup.card("Results", "", markup.nothing("Choose a file.")), elem_id="results")
    running = start.click(
        _classify(calls, downloads), [file, column, skip_bad, choice.model, threshold], table, **QUIET
    )
    stop.click(None, None, None, cancels=[running], **QUIET)


def _classify(calls: Calls, downloads: Downloads) -> Any:
    async def classify(
        path: str | None,
        column: str,
        skip_bad: bool,  # noqa: FBT001 as Gradio calls it
        model: str,
        threshold: float,
    ) -> AsyncIterator[str]:
        """Classify in small batches, and show how far it is; the file is removed as soon as it was read for this."""
        try:
            texts = (await asyncio.to_thread(_take, path, column, skip_bad)).texts
        except UnreadableError as error:
            yield markup.notice(str(error))
            return
        rows: list[Sequence[str]] = []
        for batch in _batches(texts):
            rows += await _answers(calls, batch, model, threshold)
            yield _table(rows, len(texts), "")
        yield _table(rows, len(texts), downloads.keep(HEADS, rows))

    return classify


def _read(path: str | None, column: str, skip_bad: bool) -> Found:  # noqa: FBT001 as Gradio calls it
    if not path:
        raise UnreadableError("Choose a file first.")
    file = Path(path)
    if not file.exists():
        raise UnreadableError("This file was read before; choose it again.")
    return read_texts(file, column, skip_bad=skip_bad)


def _take(path: str | None, column: str, skip_bad: bool) -> Found:  # noqa: FBT001 as Gradio calls it
    found = _read(path, column, skip_bad)
    Path(path or "").unlink(missing_ok=True)
    return found


def _look(path: str | None, column: str, skip_bad: bool) -> str:  # noqa: FBT001 as Gradio calls it
    """Say what would be classified, before it is."""
    if not path or not Path(path).exists():
        return ""
    try:
        found = _read(path, column, skip_bad)
    except UnreadableError as error:
        return markup.notice(str(error))
    wrong = [f"{len(found.wrong):,} left out: {'; '.join(found.wrong[:MOST_WRONG])}"] if found.wrong else []
    said = "".join(f'<p class="soft">{escape(line)}</p>' for line in [*found.said[1:], *wrong])
    first = [(f'<bdi dir="auto">{escape(_cut(text))}</bdi>',) for text in found.texts[:MOST_FIRST]]
    return markup.card("Found", found.said[0], said + markup.table(("the first texts",), first))


def _cut(text: str) -> str:
    return f"{text[:140]}…" if len(text) > 140 else text  # noqa: PLR2004 - a line or two


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        if batch and (len(batch) == MOST_AT_ONCE or sum(len(one.encode()) for one in [*batch, text]) > MOST_BYTES):
            yield batch
            batch = []
        batch.append(text)
    yield batch


async def _answers(calls: Calls, texts: list[str], model: str, threshold: float) -> list[Sequence[str]]:
    try:
        found = await calls.predict(texts, model, None, threshold)
    except TroubleError as trouble:
        if len(texts) == 1:
            return [(texts[0], "", "", "", "", str(trouble))]
        if trouble.code in {"", "overloaded", "broker_unavailable", "model_unavailable"}:
            return [(text, "", "", "", "", str(trouble)) for text in texts]
        return [
            row for text in texts for row in await _answers(calls, [text], model, threshold)
        ]  # one of them is wrong
    return [_row(calls, text, answer) for text, answer in zip(texts, found, strict=True)]


def _row(calls: Calls, text: str, answer: Document) -> Sequence[str]:
    if "error" in answer:
        return (text, "", "", "", answer.get("id", ""), calls.sentence(answer))
    not_sure = "yes" if answer["abstained"] else "no"
    return (text, answer["label"], f"{answer['confidence']:.4f}", not_sure, answer["id"], "")


def _table(rows: Sequence[Sequence[str]], total: int, download: str) -> str:
    failed = sum(bool(row[5]) for row in rows)
    said = f"{len(rows):,} of {total:,} texts" + (f", {failed:,} without an answer" if failed else "")
    link = (
        f'<p><a class="o-link" href="results/{download}.csv" download>Download all results (CSV)</a></p>'
        if download
        else ""
    )
    bar = "" if download else f'<progress max="{total}" value="{len(rows)}" aria-label="classifying"></progress>'
    shown = [_shown(row) for row in rows[:MOST_SHOWN]]
    more = (
        f'<p class="soft">The first {MOST_SHOWN} are shown; all are in the download.</p>'
        if len(rows) > MOST_SHOWN
        else ""
    )
    content = bar + link + markup.table(("text", "answer", "confidence"), shown, (2,)) + more
    return markup.card("Results", said, content)


def _shown(row: Sequence[str]) -> Sequence[str]:
    text, label, confidence, not_sure, _, error = row
    cut = _cut(text)
    if error:
        return (f'<bdi dir="auto">{escape(cut)}</bdi>', f'<span class="bad">{escape(error)}</span>', "")
    answer = f'not sure <span class="soft">({escape(label)})</span>' if not_sure == "yes" else escape(label)
    return (f'<bdi dir="auto">{escape(cut)}</bdi>', answer, percent(float(confidence)))

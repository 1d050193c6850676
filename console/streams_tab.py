"""The tab that shows the log: who reads what and how far, the latest entries, and what could not be processed."""

from html import escape
from typing import Any, Final

import gradio as gr

from console import markup
from console.calls import Calls, Document, TroubleError
from console.login import may_administer
from console.parts import QUIET, Choice

STREAMS: Final = ("requests", "results", "feedback", "alerts", "dead", "explanations")
LATEST: Final = 15
MOST_DEAD: Final = 50
COLUMNS: Final = {  # stream to the fields worth a column
    "requests": ("id", "version", "text_bytes", "subject", "true_label", "deadline_ms"),
    "results": (
        "id",
        "version",
        "role",
        "status",
        "label",
        "confidence",
        "words",
        "queue_ms",
        "inference_ms",
        "worker",
    ),
    "feedback": ("id", "label", "predicted", "confidence", "previous_label", "source"),
    "alerts": ("state", "detector", "feature", "severity", "version", "summary"),
    "dead": ("id", "reason", "detail", "deliveries", "worker"),
    "explanations": ("id", "version", "status", "code", "label", "method", "words", "elapsed_ms"),
}
SLOW_MS: Final = 10_000


def build(calls: Calls, choice: Choice) -> None:
    """Put the tab together."""
    readers = gr.HTML(markup.card("Readers", "", markup.nothing("Asking the gateway.")), elem_id="readers")
    stream = gr.Dropdown(list(STREAMS), value="results", label="Latest entries of", elem_id="stream")
    entries = gr.HTML("", elem_id="entries")
    buried = gr.HTML("", elem_id="dead")
    with gr.Row():
        letter = gr.Dropdown([], label="Dead letter", elem_id="letter", scale=3)
        again = gr.Button("Send it again", elem_id="redrive", scale=1)
    outcome = gr.HTML("", elem_id="redriven")
    gr.on(choice.looks, _readers(calls), choice.model, readers, **QUIET)
    gr.on([*choice.looks, stream.change], _entries(calls), [choice.model, stream], entries, **QUIET)
    gr.on(choice.looks, _dead(calls), [choice.model, letter], [buried, letter], **QUIET)
    again.click(_redrive(calls), letter, outcome, **QUIET)


def _readers(calls: Calls) -> Any:
    async def readers(model: str) -> str:
        try:
            found = [one for one in await calls.streams() if one["model"] == model]
        except TroubleError as trouble:
            return markup.notice(str(trouble), "warn")
        return _readers_table(found)

    return readers


def _readers_table(found: list[Document]) -> str:
    if not found:
        return markup.card("Readers", "", markup.nothing("Nobody reads a stream of this model."))
    rows = [
        (
            escape(one["stream"]) + (f" <span class='soft'>shard {one['shard']}</span>" if one["shard"] else ""),
            escape(one["group"]),
            "unknown" if one["lag"] is None else f"{one['lag']:,}",
            f"{one['pending']:,}",
            _oldest(one["oldest_ms"]),
            f"{one['consumers']:,}",
        )
        for one in found
    ]
    heads = ("stream", "group", "not read", "in work", "oldest", "consumers")
    return markup.card(
        "Readers", "what each group has not read, and what it has not finished", markup.table(heads, rows, (2, 3, 4, 5))
    )


def _oldest(oldest_ms: int | None) -> str:
    if oldest_ms is None:
        return "-"
    said = f"{oldest_ms / 1000:.1f} s"
    return f'<b class="bad">{said}</b>' if oldest_ms > SLOW_MS else said


def _entries(calls: Calls) -> Any:
    async def entries(model: str, stream: str) -> str:
        try:
            found = await calls.stream(model, stream, LATEST)
        except TroubleError as trouble:
            return markup.notice(str(trouble), "warn")
        return _entries_table(found)

    return entries


def _entries_table(found: Document) -> str:
    consumers = [(one["group"], who) for one in found["groups"] for who in one["consumers"]]
    who = ""
    if consumers:
        rows = [
            (escape(group), markup.code(one["name"]), f"{one['pending']:,}", f"{one['idle_ms'] / 1000:.1f} s ago")
            for group, one in consumers
        ]
        heads = ("group", "consumer", "in work", "last asked")
        who = markup.table(heads, rows, (2, 3))
    columns = COLUMNS[found["stream"]]
    lines = [
        (
            markup.clock(entry["at_ms"]),
            *(_cell(name, str(entry["fields"].get(name, "-"))) for name in columns),
        )
        for entry in found["entries"]
    ]
    content = (
        markup.table(("time, UTC", *(name.replace("_", " ") for name in columns)), lines)
        if lines
        else markup.nothing("Nothing was written here.")
    )
    return markup.card(
        f"Latest {found['stream']}", f"{found['length']:,} entries; texts are never shown", content + who
    )


def _cell(name: str, value: str) -> str:
    return markup.code(value) if name == "id" else escape(value)


def _dead(calls: Calls) -> Any:
    async def dead(model: str, chosen: str | None) -> tuple[str, Any]:
        try:
            found = (await calls.stream(model, "dead", MOST_DEAD))["entries"]
        except TroubleError:
            return "", gr.skip()  # the readers' table says it
        names = [(f"{markup.clock(e['at_ms'])} {e['fields'].get('reason', '')} {e['entry']}", e["name"]) for e in found]
        kept = chosen if chosen in {name for _, name in names} else None
        return _dead_table(found), gr.update(choices=names, value=kept or (names[0][1] if names else None))

    return dead


def _dead_table(found: list[Document]) -> str:
    if not found:
        return markup.card("Dead letters", "", '<p class="o-nothing">None: everything could be processed.</p>')
    rows = [
        (
            markup.day_and_clock(entry["at_ms"]),
            escape(entry["fields"].get("reason", "-")),
            escape(entry["fields"].get("detail", "-")),
            escape(entry["fields"].get("deliveries", "-")),
        )
        for entry in found
    ]
    return markup.card(
        "Dead letters",
        "what could not be processed, and why",
        markup.table(("time, UTC", "reason", "detail", "tries"), rows, (3,)),
    )


def _redrive(calls: Calls) -> Any:
    async def redrive(letter: str | None, request: gr.Request) -> str:
        if not may_administer(request):
            return markup.notice("Only an administrator may send it again.")
        if not letter:
            return markup.notice("There is no dead letter to send again.", "plain")
        try:
            found = await calls.redrive(letter)
        except TroubleError as trouble:
            return markup.notice(str(trouble))
        return markup.notice(f"It is on the log again as {found['entry']}.", "good")

    return redrive

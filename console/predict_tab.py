"""The tab where a person tries a model, says whether it was right, and asks why."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import gradio as gr

from console import answering, explaining, markup
from console.calls import Calls, Document, TroubleError
from console.parts import QUIET, Choice

EXAMPLES: Final = (
    "A joy from start to finish, and the ending is perfect.",
    "Two hours of my life that I will never get back.",
    "It is not bad, but I would not see it twice.",
)
LIVE: Final = "live"
ASKED_S: Final = 0.4  # between two looks at an explanation
PATIENCE: Final = 150  # looks before one gives up
SAID: Final = {
    "accepted": "Thank you; the monitor counts it.",
    "same": "You said so before.",
    "replaced": "Changed; the monitor counts the new one.",
    "parked": "Kept until the answer is there.",
}


def build(calls: Calls, choice: Choice) -> None:
    """Put the tab together."""
    answer = gr.State({})
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            text = gr.Textbox(label="Text", lines=5, max_lines=12, elem_id="text", placeholder="Write or paste a text")
            with gr.Row(elem_classes="o-examples"):
                for example in EXAMPLES:
                    button = gr.Button(example, size="sm", variant="secondary")
                    button.click(lambda said=example: said, None, text, **QUIET)
            with gr.Row():
                version = gr.Dropdown([LIVE], value=LIVE, label="Version", elem_id="version", min_width=140)
                threshold = gr.Slider(
                    0, 1, 0.6, step=0.01, label="Threshold: below it, not sure", elem_id="threshold", min_width=180
                )
            ask = gr.Button("Predict", variant="primary", elem_id="predict")
        with gr.Column(scale=5, min_width=300):
            result = gr.HTML(_empty(), elem_id="result")
            with gr.Row(visible=False, elem_id="judging") as judging:
                right = gr.Button("This is right", elem_id="right", min_width=120)
                wrong = gr.Button("This is wrong", elem_id="wrong", min_width=120)
                why = gr.Button("Explain", elem_id="explain", min_width=120)
            other = gr.Radio([], label="What would have been right?", visible=False, elem_id="other")
            judged = gr.HTML("", elem_id="judged")
            explained = gr.HTML("", elem_id="explained")
    choice.model.change(_versions(calls), choice.model, version, **QUIET)
    asked = {"fn": _predict(calls), "inputs": [text, choice.model, version, threshold]}
    shown = [result, answer, judging, other, judged, explained]
    for event in (ask.click, text.submit):
        event(**asked, outputs=shown, api_visibility="private", show_progress="minimal")
    threshold.change(_again, [answer, threshold], result, **QUIET)
    right.click(_say_right(calls), answer, [judged, other], **QUIET)
    wrong.click(_say_wrong(calls), answer, [judged, other], **QUIET)
    other.input(_say(calls), [answer, other], judged, **QUIET)
    why.click(_explain(calls), [answer, text], explained, **QUIET)


def _empty() -> str:
    return markup.card("Answer", "", markup.nothing("Write a text and press Predict."))


def _versions(calls: Calls) -> Any:
    async def versions(model: str) -> Any:
        try:
            found = next((one for one in await calls.models() if one["name"] == model), None)
        except TroubleError:
            found = None
        names = [LIVE, *(version["version"] for version in found["versions"])] if found else [LIVE]
        return gr.update(choices=names, value=LIVE)

    return versions


def _predict(calls: Calls) -> Any:
    async def predict(text: str, model: str, version: str, threshold: float) -> tuple[Any, ...]:
        """Show the answer, or in a sentence why there is none."""
        try:
            pinned = None if version == LIVE else version
            found = await calls.predict_one(text or "", model, pinned, threshold)
        except TroubleError as trouble:
            return (markup.notice(str(trouble)), {}, gr.update(visible=False), gr.update(visible=False), "", "")
        hidden = gr.update(visible=False, value=None)
        return answering.picture(found, threshold), found, gr.update(visible=True), hidden, "", ""

    return predict


def _again(answer: Document, threshold: float) -> str:
    return answering.picture(answer, threshold) if answer else _empty()


def _say(calls: Calls) -> Any:
    async def say(answer: Document, label: str | None) -> str:
        if not answer or not label:
            return ""
        try:
            outcome = await calls.feedback(answer["id"], label)
        except TroubleError as trouble:
            return markup.notice(str(trouble))
        return markup.notice(f"Right was {label}. {SAID.get(outcome, '')}", "good")

    return say


def _say_right(calls: Calls) -> Any:
    say = _say(calls)

    async def say_right(answer: Document) -> tuple[str, Any]:
        return await say(answer, answer.get("label")), gr.update(visible=False)

    return say_right


def _say_wrong(calls: Calls) -> Any:
    say = _say(calls)

    async def say_wrong(answer: Document) -> tuple[str, Any]:
        """With two labels the other one was right; with more the person says which."""
        others = [label for label in answer.get("probabilities", {}) if label != answer["label"]]
        if len(others) == 1:
            return await say(answer, others[0]), gr.update(visible=False)
        return "", gr.update(visible=True, choices=others, value=None)

    return say_wrong


def _explain(calls: Calls) -> Any:
    async def explain(answer: Document, text: str) -> AsyncIterator[str]:
        """Show how far the explainer is, and then what it found."""
        if not answer:
            return
        try:
            yield explaining.working(0.0)
            found = await _ask_why(calls, answer, text)
            for _ in range(PATIENCE):
                if found["status"] == "done":
                    yield explaining.picture(found)
                    return
                yield explaining.working(found.get("progress", 0.0))
                await asyncio.sleep(ASKED_S)
                found = await calls.explanation(found["id"])
            yield markup.notice("The explanation did not come in time; try again.")
        except TroubleError as trouble:
            yield markup.notice(str(trouble))

    return explain


async def _ask_why(calls: Calls, answer: Document, text: str) -> Document:
    """Ask by id, which is remembered; where the log no longer holds the text, send it along."""
    try:
        return await calls.ask_why({"id": answer["id"]})
    except TroubleError as trouble:
        if trouble.code != "text_not_kept" or not text.strip():
            raise
    return await calls.ask_why({"text": text, "model": answer["model"], "version": answer["version"]})

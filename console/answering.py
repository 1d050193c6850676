"""One answer as a picture: label, confidence, probabilities, where the time went, the id."""

from collections.abc import Mapping
from html import escape
from typing import Any

from console import markup
from console.sentences import percent


def picture(answer: Mapping[str, Any], threshold: float) -> str:
    """Return the answer; below *threshold* it says that the model is not sure."""
    sure = answer["confidence"] >= threshold
    head = escape(answer["label"]) if sure else f"not sure <small>(rather {escape(answer['label'])})</small>"
    bars = "".join(
        f'<div class="o-row"><span>{escape(label)}</span><span class="o-rail"><span style="width:{100 * value:.1f}%">'
        f"</span></span><span>{percent(value)}</span></div>"
        for label, value in answer["probabilities"].items()
    )
    timing = answer["timing_ms"]
    cut = "<p>The text was longer than the model reads; the end was not read.</p>" if answer["truncated"] else ""
    parts = (("waiting", timing["queue"]), ("inference", timing["inference"]), ("in all", timing["total"]))
    times = " · ".join(f"{name} {value:.1f} ms" for name, value in parts)
    content = (
        f'<p class="o-big {"" if sure else "unsure"}" id="answer">{head}</p>'
        f'<p class="soft">confidence {percent(answer["confidence"])}, threshold {percent(threshold, 0)}</p>{bars}{cut}'
        f'<p class="soft">{times}</p><p class="soft">{escape(answer["model"])} {escape(answer["version"])} · '
        f"{markup.code(answer['id'])}</p>"
    )
    return markup.card("Answer", "", content)

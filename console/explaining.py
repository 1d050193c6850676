"""An explanation as a picture: the text with each word as dark as it weighed."""

from collections.abc import Mapping
from html import escape
from math import exp
from typing import Any, Final

from console import markup
from console.sentences import percent

MOST_LISTED: Final = 8
FAINT: Final = 0.03  # of the heaviest word: not marked


def picture(found: Mapping[str, Any]) -> str:
    """Return the highlighted text, what the colours mean, and the words that weighed most."""
    words, label = found["words"], found["label"]
    most = max((abs(word["weight"]) for word in words), default=0.0) or 1.0
    text = "".join(_word(word["text"], word["weight"], most, label) for word in words)
    before, after = _probability(found["baseline"]), _probability(found["score"])
    how = (
        "the model's own coefficients"
        if found["method"] == "coefficients"
        else f"{found['evaluations']} variants of the text"
    )
    cut = " The model reads only the beginning; what it does not read is grey." if found["truncated"] else ""
    said = (
        f"Without any word the model would say {label} with {percent(before, 0)}; these words move it to "
        f"{percent(after, 0)}. From {how}, in {found['elapsed_ms'] / 1000:.1f} s.{cut}"
    )
    legend = (
        f'<p class="o-legend"><span class="o-word for" style="--weight:70%">speaks for {escape(label)}</span> '
        '<span class="o-word against" style="--weight:70%">speaks against it</span></p>'
    )
    listed = sorted(words, key=lambda word: -abs(word["weight"]))[:MOST_LISTED]
    rows = [
        (f"<bdi>{escape(word['text'].strip())}</bdi>", f"{word['weight']:+.2f}") for word in listed if word["weight"]
    ]
    ranking = markup.table(("word", "log-odds"), rows, (1,))
    ranked = f"<details><summary>the words that weighed most</summary>{ranking}</details>"
    content = f'<p class="o-text" dir="auto">{text}</p>{legend}{ranked}'
    return markup.card("Which words made the answer", said, content)


def working(progress: float) -> str:
    """Return what is shown while the explainer works."""
    bar = f'<progress max="1" value="{progress:.2f}" aria-label="explaining"></progress>'
    return markup.card("Which words made the answer", f"The explainer works: {progress:.0%}", bar)


def _word(text: str, weight: float, most: float, label: str) -> str:
    if abs(weight) < FAINT * most:
        return f'<span class="o-faint">{escape(text)}</span>'
    kind, towards = ("for", "for") if weight > 0 else ("against", "against")
    bare = text.rstrip()
    share = 85 * abs(weight) / most
    said = f"{weight:+.2f}, speaks {towards} {label}"
    marked = f'<span class="o-word {kind}" style="--weight:{share:.0f}%" title="{escape(said)}">{escape(bare)}</span>'
    return marked + escape(text[len(bare) :])


def _probability(log_odds: float) -> float:
    return 1 / (1 + exp(-log_odds))

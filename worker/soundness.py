"""What must hold before a version may answer anybody, tried with the very code that would serve it."""

import importlib.util
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, Protocol, runtime_checkable

from broker.errors import ModelRefusedError
from broker.events import MAX_TEXT_CHARACTERS
from broker.manifest import read_reference
from broker.text import normalise
from worker.chunks import MOST_ROWS
from worker.models import Loaded, Scores, load_version

SHIPPED: Final = 1e-5  # most that company may change a probability of a model that we ship
STRANGERS: Final = 1e-4  # of anybody's
SLOWEST_S: Final = 5.0  # CPU time of one of the longest texts; three of them must fit into the claim time
MOST_PADDING: Final = 17  # columns
TEXTS: Final = 64
# Figures that the trainer measured when it made the version, and their least value.
RECORDED: Final = {"agreement_torch": 0.999, "agreement_fp32": 0.99, "agreement_native": 1.0, "agreement_source": 0.99}
PLAIN: Final = ("the", "a", "film", "was", "good", "bad", "not", "very", "and", "it", "of", "one", "long", "short")
ODD: Final = (
    *("", " ", "\t\n", "a", "?!...", "\u00e9t\u00e9 na\u00efve", "\u65e5\u672c\u8a9e", "\u0645\u0631\u062d\u0628"),
    *("\U0001f600\U0001f44d\U0001f3fd", "e\u0301\u0301\u0301", "\u200b\u200d\ufeff", "\x00\x01\x7f", "[CLS] [SEP]"),
    *("9" * 300, "WORD " * 50, "\U0010ffff"),
)


class Check(NamedTuple):
    """One thing that was tried."""

    name: str
    found: str
    wanted: str
    passed: bool


@runtime_checkable
class Padded(Protocol):
    """A model whose texts share a tensor, so that padding could change what it says."""

    def padded(self, texts: Sequence[str], columns: int) -> list[Scores]:
        """Return the scores of *texts* computed together, with *columns* of padding more than the longest needs."""
        ...


class Trial:
    """One version in memory and the texts it is tried on."""

    def __init__(self, folder: Path, loaded: Loaded, tolerance: float, seed: int) -> None:
        self.folder = folder
        self.loaded = loaded
        self.model = loaded.model
        self.manifest = loaded.manifest
        self.tolerance = tolerance
        self._seed = seed

    @cached_property
    def texts(self) -> list[str]:
        """Texts of 1 to 60 words that the version knows, or of plain English if it names none, and odd ones."""
        words, draw = sorted(self.loaded.vocabulary) or PLAIN, random.Random(self._seed)
        made = [" ".join(draw.choices(words, k=draw.randint(1, 60))) for _ in range(TEXTS - len(ODD))]
        return [normalise(text, self.manifest.normalisation) for text in (*made, *ODD)]

    @cached_property
    def alone(self) -> list[Scores]:
        """What the version says of each text when nothing else is asked."""
        return [self.model.predict([text])[0] for text in self.texts]

    def batches(self) -> Iterator[list[int]]:
        """Yield the positions of all texts, each twice, in random batches of 2 to 16."""
        draw = random.Random(self._seed)
        for _ in range(2):
            order = draw.sample(range(len(self.texts)), len(self.texts))
            while order:
                size = draw.randint(2, MOST_ROWS)
                yield order[:size]
                del order[:size]

    def differences(self, together: Callable[[list[str]], list[Scores]]) -> tuple[float, int, int]:
        """Return the largest change of a probability in company, and how many labels and embeddings changed."""
        largest, labels, embeddings = 0.0, 0, 0
        for batch in self.batches():
            for at, scores in zip(batch, together([self.texts[at] for at in batch]), strict=True):
                before = self.alone[at]
                changes = (abs(a - b) for a, b in zip(before.probabilities, scores.probabilities, strict=True))
                largest = max(largest, *changes)
                labels += _label(before) != _label(scores)
                embeddings += before.embedding != scores.embedding
        return largest, labels, embeddings


def examine(folder: Path, tolerance: float = STRANGERS, seed: int = 0) -> Iterator[Check]:
    """Try the version in *folder*; ends after the first check if it cannot even be loaded."""
    wanted = "digests, operators, inputs and outputs that are known"
    try:
        trial = Trial(folder, load_version(folder), tolerance, seed)
    except ModelRefusedError as error:
        yield Check("loads", str(error), wanted, passed=False)
        return
    size = sum((folder / name).stat().st_size for name in trial.manifest.files)
    yield Check("loads", f"{trial.manifest.kind}, {len(trial.manifest.files)} files, {size / 1e6:.1f} MB", wanted, True)  # noqa: FBT003
    for name, attempt in ATTEMPTS.items():
        try:
            yield from (Check(name, *found) for found in attempt(trial))
        except Exception as error:  # noqa: BLE001 a model of any kind may raise anything
            reason = (str(error).strip().splitlines() or [""])[0][:120]
            yield Check(name, f"{type(error).__name__}: {reason}", "no failure", passed=False)


Found = Iterator[tuple[str, str, bool]]  # what was found, what was wanted, whether it passed


def _reference(trial: Trial) -> Found:
    if "reference.json" not in trial.manifest.files:
        yield "none: the monitor will see no drift", "texts counted, labels known", True
        return
    reference = read_reference(trial.folder)
    uneven = [name for name, found in reference.features.items() if sum(found.counts) != reference.count]
    foreign = sorted(reference.labels.keys() - set(trial.manifest.labels))
    said = f"{reference.count} texts, {len(reference.features)} features"
    yield said, "every text counted once, labels of model.json", not uneven and not foreign


def _detectors(trial: Trial) -> Found:
    """Let the monitor's own code build what would watch the version, in a process within this one's bounds."""
    wanted = "what the monitor will build"
    if "reference.json" not in trial.manifest.files or importlib.util.find_spec("monitor") is None:
        yield "not tried: no reference, or no monitor installed here", wanted, True
        return
    command = [sys.executable, "-m", "monitor.verify", str(trial.folder.absolute())]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603 a fixed command
    said = (done.stdout or done.stderr).strip().splitlines() or [f"it ended with {done.returncode}"]
    yield said[-1][:200], wanted, done.returncode == 0


def _recorded(trial: Trial) -> Found:
    metrics = trial.manifest.metrics
    least = {name: value for name, value in RECORDED.items() if name in metrics}
    if "accuracy" in metrics:
        least["accuracy"] = trial.manifest.target_accuracy
    for name, value in least.items():
        yield f"{name} {metrics[name]:.4f}", f"at least {value:g}", metrics[name] >= value
    if not least:
        yield "none", "what the trainer measured", True


def _answers(trial: Trial) -> Found:
    wrong = [scores for scores in trial.alone if not _is_distribution(scores)]
    yield f"{len(trial.texts)} texts, {len(ODD)} of them odd, {len(wrong)} wrong", "numbers that add up to 1", not wrong


def _longest(trial: Trial) -> Found:
    word = max(trial.texts[0].split() or ["word"], key=len)
    text = ((word + " ") * MAX_TEXT_CHARACTERS)[:MAX_TEXT_CHARACTERS]
    start = time.thread_time()
    (scores,) = trial.model.predict([text])
    seconds = time.thread_time() - start
    said = f"{scores.tokens} tokens, {'cut' if scores.truncated else 'read whole'}, {seconds:.3f} s"
    most = trial.manifest.max_length
    yield said, f"cut at {most}, {SLOWEST_S:g} s", (scores.tokens > most) == scores.truncated and seconds < SLOWEST_S


def _company(trial: Trial) -> Found:
    largest, labels, embeddings = trial.differences(trial.model.predict)
    yield _said(largest, labels, embeddings), f"{trial.tolerance:g}, 0, 0", largest <= trial.tolerance and not labels


def _padding(trial: Trial) -> Found:
    if not isinstance(trial.model, Padded):
        yield "not used", f"{trial.tolerance:g}, 0, 0", True
        return
    model, draw = trial.model, random.Random(1)
    found = trial.differences(lambda texts: model.padded(texts, draw.randint(0, MOST_PADDING)))
    yield _said(*found), f"{trial.tolerance:g}, 0, 0", found[0] <= trial.tolerance and not found[1]


def _speed(trial: Trial) -> Found:
    start = time.thread_time()
    for text in trial.texts:
        trial.model.predict([text])
    middle = time.thread_time()
    trial.model.predict(trial.texts)
    alone, together = middle - start, time.thread_time() - middle
    each = len(trial.texts)
    yield f"{1000 * alone / each:.2f} ms alone, {1000 * together / each:.2f} ms of {each}", "CPU time of a text", True


ATTEMPTS: Final[dict[str, Callable[[Trial], Found]]] = {
    "reference": _reference,
    "detectors": _detectors,
    "recorded": _recorded,
    "answers": _answers,
    "longest text": _longest,
    "in company": _company,
    "padded": _padding,
    "speed": _speed,
}


def _said(largest: float, labels: int, embeddings: int) -> str:
    return f"probabilities by {largest:.1e}, {labels} labels, {embeddings} embeddings"


def _label(scores: Scores) -> int:
    return max(range(len(scores.probabilities)), key=scores.probabilities.__getitem__)


def _is_distribution(scores: Scores) -> bool:
    return all(0 <= each <= 1 for each in scores.probabilities) and abs(sum(scores.probabilities) - 1) < 1e-5  # noqa: PLR2004

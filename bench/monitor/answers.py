"""Where the recorded answers are, and what their numbers mean."""

from pathlib import Path
from typing import Final

RECORDED: Final = Path("tests/monitor/data/answers.npz")
VERSION: Final = Path("models/sentiment/1")  # the model that answered
# The whole numbers of one text; shares and probabilities are millionths, coordinates thousandths.
COORDINATES: Final = tuple(f"embedding_{number}" for number in range(8))
COLUMNS: Final = (
    *("characters", "words", "tokens", "oov_ratio", "non_latin_ratio", "positive", "truncated", "truth"),
    *COORDINATES,
)

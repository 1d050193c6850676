"""From what params.yaml says of a source to its rows: one reader for each source."""

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from broker.folding import Folded
from broker.tables import Asked
from trainer import hub
from trainer.data import DataError, fetch, member
from trainer.feedback import rows as labelled_rows
from trainer.params import Params
from trainer.rows import Row, of_file
from trainer.sources import Feedback, Hub, LocalFile, Ratings, Table

ROOT = Path(__file__).parents[1]
MEASUREMENTS = "hutto_ICWSM_2014.tar.gz"  # an archive within the VADER source distribution
HEADER_LINES = 3  # names, types, roles

Reader = Callable[[Any, Params, Path], Iterable[Row]]  # its parameters, all parameters, the cache


def ratings(source: Ratings, params: Params, cache: Path) -> Iterator[Row]:
    """Yield ``positive`` and ``negative`` texts, without those rated closer to 0 than the least rating."""
    archive = fetch(params.archives[source.archive], cache)
    with tarfile.open(fileobj=io.BytesIO(member(archive, MEASUREMENTS))) as measurements:
        try:
            file = measurements.extractfile(source.file)
        except KeyError:
            file = None
        if file is None:
            raise DataError(f"{MEASUREMENTS} of {archive} holds no file {source.file}")
        content = file.read().decode("utf-8")
    for line in filter(str.strip, content.splitlines()):
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) >= source.least_rating:
            yield Row(text, "positive" if float(rating) > 0 else "negative")


def table(source: Table, params: Params, cache: Path) -> Iterator[Row]:
    """Yield the rows of the archive's training and test file."""
    archive = fetch(params.archives[source.archive], cache)
    for part, name in (("train", source.train), ("test", source.test)):
        lines = member(archive, name).decode("utf-8").split("\n")
        for line in filter(None, lines[HEADER_LINES:]):
            label, _, text = line.partition("\t")
            yield Row(text, label, part)  # type: ignore[arg-type]  # mypy sees any string


def local_file(source: LocalFile, params: Params, cache: Path) -> Iterator[Row]:  # noqa: ARG001 every reader's form
    """Yield the rows of a file of anyone's, labels written as ``relabel`` has them, and say what was found."""
    named = source.model_dump(include={"text", "label", "skip_bad", "encoding", "delimiter", "quotes", "header"})
    path, labels = ROOT / source.path, Folded(source.relabel or ())
    for row in of_file(path, Asked(**named), cache / f"{path.name}.refused.txt"):
        yield Row(row.text, labels.find(row.label) or row.label)
    print("".join(f"{line}\n" for line in labels.said), end="")


def hub_dataset(source: Hub, params: Params, cache: Path) -> Iterator[Row]:  # noqa: ARG001 every reader's form
    """Yield the rows of a data set of the hub."""
    return hub.rows(source, cache)


def collected_labels(source: Feedback, params: Params, cache: Path) -> Iterator[Row]:  # noqa: ARG001 every reader's form
    """Yield the texts that were sent to a model and labelled since, the newest label first."""
    return iter(labelled_rows(source.model, source.since))


READERS: Final[Mapping[str, Reader]] = {
    "ratings": ratings,
    "tab": table,
    "file": local_file,
    "hub": hub_dataset,
    "feedback": collected_labels,
}

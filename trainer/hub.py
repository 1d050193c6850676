"""Data sets and checkpoints of the Hugging Face hub, where it can be reached."""

import os
from collections.abc import Iterator
from pathlib import Path

from broker.tables import Asked
from trainer.data import DataError
from trainer.rows import Row, of_file
from trainer.sources import Hub

PARQUET = "refs/convert/parquet"  # the branch where the hub keeps every public data set in one form


def rows(source: Hub, cache: Path) -> Iterator[Row]:
    """Yield the rows of a data set of the hub.

    Raises:
        DataError: the hub cannot be reached, or has no such data set, configuration or part.
        UnreadableFileError: the data set has no such column, or a row that cannot be used.

    """
    names = {str(number): name for number, name in enumerate(source.names)}
    asked = Asked(source.text, source.label, names, source.skip_bad)
    for part, name in (("train", source.train), ("test", source.test)):
        if name is not None:
            for path in _files(source, name, cache):
                for row in of_file(path, asked, cache / f"{part}-{path.stem}.refused.txt", source.names or None):
                    yield Row(row.text, row.label, part)  # type: ignore[arg-type]


def _files(source: Hub, part: str, cache: Path) -> list[Path]:
    pattern = f"{source.config}/{part}/*.parquet"
    folder = snapshot(source.name, cache, kind="dataset", revision=PARQUET, patterns=[pattern])
    found = sorted(folder.glob(pattern))
    if not found:
        raise DataError(f"the hub's data set {source.name} has no part {source.config}/{part}")
    return found


def snapshot(name: str, cache: Path, *, kind: str, revision: str | None, patterns: list[str]) -> Path:
    """Return a folder with the files of a repository of the hub that match *patterns*.

    Raises:
        DataError: the hub cannot be reached, or has no such repository.

    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download  # noqa: PLC0415 only who reads from the hub needs it

    try:
        folder = snapshot_download(
            name,
            repo_type=kind,
            revision=revision,
            allow_patterns=patterns,
            cache_dir=cache / "hub",
            etag_timeout=10,
        )
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{kind} {name} cannot be had from the hub: {reason}; check its name and the network"
        ) from error
    return Path(folder)

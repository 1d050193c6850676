"""All that is opened of a stranger's folder: one list. It is checked, then copied, and only copies are read."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from broker.errors import ModelRefusedError

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
MOST_WEIGHTS: Final = 2 << 30  # bytes in all: one ONNX file holds no more
MOST_HEADER: Final = 8 << 20  # of a safetensors file; one of 400 tensors has 50 kB
VOCABULARIES: Final = (
    *("vocab.txt", "vocab.json", "merges.txt", "bpe.codes"),
    *("spiece.model", "spm.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model"),
)
FILES: Final = {  # beside the weights; to the most bytes that are read
    "config.json": 1 << 20,
    "tokenizer_config.json": 16 << 20,
    "special_tokens_map.json": 1 << 20,
    "added_tokens.json": 16 << 20,
    "tokenizer.json": 64 << 20,
    INDEX: 8 << 20,
    **dict.fromkeys(VOCABULARIES, 32 << 20),
}
POINTER: Final = b"version https://git-lfs"


@contextmanager
def opened(folder: Path, name: str, most: int) -> Iterator[tuple[BinaryIO, int]]:
    """Yield the file *name* of *folder*, and its size.

    Raises:
        ModelRefusedError: it is not there, no regular file of the folder itself, or has more than *most* bytes.

    """
    path = folder / name
    if path.is_dir() and not path.is_symlink():
        raise ModelRefusedError(f"{name} is no regular file")
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ModelRefusedError(
                f"{name} is a link, and links are not followed; copy what they lead to: cp -rL {folder} COPY"
            ) from error
        raise ModelRefusedError(f"{name}: cannot be read ({error.strerror})") from error
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise ModelRefusedError(f"{name} is no regular file")
        if found.st_size > most:
            raise ModelRefusedError(f"{name} has {found.st_size} bytes; at most {most} are read")
        yield file, found.st_size


def content(folder: Path, name: str, most: int) -> bytes:
    """Return what `opened` opens.

    Raises:
        ModelRefusedError: as `opened`.

    """
    with opened(folder, name, most) as (file, size):
        return file.read(size)


def copied(source: Path, into: Path) -> None:
    """Copy what a checkpoint needs from *source* into the folder *into*, which has nothing else.

    Raises:
        ModelRefusedError: a file of the list is missing, damaged, too large, or not a regular file of the folder.

    """
    present = {path.name for path in source.iterdir()}
    found = [name for name in FILES if name in present]
    for name in found:  # all of them, before the first is read
        with opened(source, name, FILES[name]):
            pass
    if "config.json" not in found:
        raise ModelRefusedError("it has no config.json; name the folder that save_pretrained wrote")
    weights = _weights(source, present)
    for name in found:
        whole = content(source, name, FILES[name])
        if whole.startswith(POINTER):
            raise _a_pointer(name)
        (into / name).write_bytes(_unnamed(whole) if name == "tokenizer_config.json" else whole)
    for name in weights:
        _copy_tensors(source, name, into)


def document(path: Path) -> dict[str, Any]:
    """Return the JSON object of the copied file *path*.

    Raises:
        ModelRefusedError: it holds none.

    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelRefusedError(f"{path.name} cannot be read ({str(error).splitlines()[0][:100]})") from error
    if not isinstance(found, dict):
        raise ModelRefusedError(f"{path.name} is no JSON object")
    return found


def _weights(source: Path, present: set[str]) -> list[str]:
    """Return the names of the files with weights, once their sizes are known to be allowed."""
    if WEIGHTS in present:
        names = [WEIGHTS]
    elif INDEX in present:
        names = _indexed(source)
    else:
        raise ModelRefusedError(
            f"it has no {WEIGHTS}; a .bin file is a pickle and is not read. Where it was made: "
            "model.save_pretrained(FOLDER, safe_serialization=True)"
        )
    left = MOST_WEIGHTS
    for name in names:
        with opened(source, name, left) as (_, size):
            left -= size
    return names


def _indexed(source: Path) -> list[str]:
    try:
        named = set(json.loads(content(source, INDEX, FILES[INDEX]))["weight_map"].values())
        odd = sorted(str(name) for name in named if Path(name).name != name or not name.endswith(".safetensors"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelRefusedError(f"{INDEX} is no map from tensors to files") from error
    if odd:
        raise ModelRefusedError(f"{INDEX} names {odd[0]!r}; only .safetensors files of the folder are read")
    return sorted(named)


def _copy_tensors(source: Path, name: str, into: Path) -> None:
    """Copy a safetensors file whose header says no more and no less than it holds."""
    with opened(source, name, MOST_WEIGHTS) as (file, size):
        start = file.read(8)
        if POINTER.startswith(start) and start:
            raise _a_pointer(name)
        length = int.from_bytes(start, "little")
        if not 2 <= length <= min(MOST_HEADER, size - 8):  # noqa: PLR2004 the braces
            raise ModelRefusedError(f"{name} is empty, cut short or no safetensors file; copy it again")
        header = file.read(length)
        try:
            tensors = json.loads(header)
            tensors.pop("__metadata__", None)
            end = max((int(tensor["data_offsets"][1]) for tensor in tensors.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ModelRefusedError(f"{name}: its header is damaged; copy it again") from error
        if end != size - 8 - length:
            raise ModelRefusedError(f"{name}: its header speaks of {end} bytes, there are {size - 8 - length}")
        with (into / name).open("xb") as copy:
            copy.write(start + header)
            for at in range(0, end, 1 << 24):
                copy.write(file.read(min(1 << 24, end - at)))


def _unnamed(settings: bytes) -> bytes:
    """Return a tokenizer's settings without those that name files: they may be anywhere."""
    try:
        found = json.loads(settings)
        return json.dumps(
            {key: value for key, value in found.items() if not key.endswith(("_file", "_files"))}
        ).encode()
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelRefusedError("tokenizer_config.json is no JSON object") from error


def _a_pointer(name: str) -> ModelRefusedError:
    return ModelRefusedError(f"{name} is a pointer of git-lfs, not the file itself; in its folder: git lfs pull")

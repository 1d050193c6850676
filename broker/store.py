"""The model store: versions that never change, and for each model a pointer file that says which of them are wanted.

A folder, or whatever else fsspec reaches (``s3://bucket/models``). On an event loop, call it in a thread.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from broker.bounded_files import LIMIT_S, bounded
from broker.durable import locked, write, write_folder
from broker.errors import ModelRefusedError, PointerMovedError, SettingsError, StoreError
from broker.manifest import (
    NAME_PATTERN,
    DocumentT,
    ModelManifest,
    Pointer,
    ReferenceProfile,
    digest_of,
    parsed,
    read_verified,
)
from broker.settings import BrokerSettings

POINTER: Final = "live.json"
CLAIMS: Final = ".generations"  # in stores that are no folder: one file a generation, made once; no version's name
MANIFEST: Final = "model.json"  # written last, so a version is there as a whole or not at all
FILE_PATTERN: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
# Where a file can be made on the condition that there is none, so that of two changes at once one is refused.
CONDITIONAL: Final = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})


class Store:
    """The models under one URL; every method raises StoreError where it cannot be reached or refuses us."""

    def __init__(self, url: str, limit_s: float = LIMIT_S) -> None:
        try:
            files, root = url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise SettingsError(f"OBSERVA_STORE: {_first_line(error)}") from error
        except OSError as error:  # some connect at once
            raise StoreError(f"{url}: {error.strerror or _first_line(error)}; check OBSERVA_STORE") from error
        self._files = bounded(files, limit_s)
        self._root = str(root).rstrip("/")
        self.folder = Path(self._root) if isinstance(files, LocalFileSystem) else None
        self._name = str(self.folder or files.unstrip_protocol(self._root))

    def __str__(self) -> str:
        return self._name

    def models(self) -> list[str]:
        """Return the names of the models that have a pointer, sorted."""
        return self._folders_with(f"*/{POINTER}")

    def versions(self, model: str) -> list[str]:
        """Return the versions of *model* that are there as a whole, in no order that means anything."""
        return self._folders_with(f"{model}/*/{MANIFEST}")

    def pointer(self, model: str) -> Pointer:
        """Return which versions of *model* are wanted.

        Raises:
            ModelRefusedError: there is no such model, or its pointer cannot be read.

        """
        return self._document(Pointer, model, POINTER)

    def copy_pointer(self, model: str, pointer: Pointer, into: Path) -> None:
        """Write *pointer* beside the versions that were copied to this machine, for whoever looks only there."""
        if self.folder is None:
            with self._reached():
                (into / model).mkdir(parents=True, exist_ok=True)
                write(into / model / POINTER, _encoded(pointer))

    def manifest(self, model: str, version: str) -> ModelManifest:
        """Return what a version says of itself.

        Raises:
            ModelRefusedError: there is no such version, or its manifest cannot be read.

        """
        return self._document(ModelManifest, model, version, MANIFEST)

    def reference(self, model: str, version: str) -> ReferenceProfile:
        """Return the reference profile of a version.

        Raises:
            ModelRefusedError: there is none.

        """
        return self._document(ReferenceProfile, model, version, "reference.json")

    def replace_pointer(self, model: str, before: Pointer | None, after: Pointer) -> None:
        """Write *after* where *before* still stands; None: where there is no pointer yet.

        Raises:
            PointerMovedError: someone else's change came first; nothing was written.

        """
        if self.folder is not None:
            with self._reached(), locked(self.folder / model):
                self._check_unmoved(model, before)
                write(self.folder / model / POINTER, _encoded(after))
            return
        protocol = self._files.protocol
        if not CONDITIONAL & ({protocol} if isinstance(protocol, str) else set(protocol)):
            raise StoreError(f"{self}: no change is safe there while others may change it, too; use a folder or s3://")
        self._check_unmoved(model, before)
        with self._reached():
            try:
                self._files.pipe_file(
                    self._path(model, CLAIMS, f"{after.generation}.json"), _encoded(after), mode="create"
                )
            except FileExistsError:
                self._catch_up(model, after.generation - 1)
                raise _moved(model, self.pointer(model)) from None
            self._catch_up(model, after.generation - 1)

    def add(self, folder: Path) -> ModelManifest:
        """Copy the version in *folder*, each file checked against its digest, to where it belongs; return its manifest.

        Raises:
            ModelRefusedError: the folder is damaged, or the store has another version of that name.

        """
        manifest, files = read_verified(folder)
        content = (folder / MANIFEST).read_bytes()
        path = self._path(manifest.name, manifest.version)
        with self._reached():
            if self._files.exists(f"{path}/{MANIFEST}"):
                if self._files.cat_file(f"{path}/{MANIFEST}") != content:
                    raise _other_version(manifest.name, manifest.version)
                return manifest
            if self.folder is not None:
                write_folder(Path(path), files | {MANIFEST: content})
                return manifest
            for name, data in (files | {MANIFEST: content}).items():  # the manifest is the last
                self._files.pipe_file(f"{path}/{name}", data)
        return manifest

    def fetch(self, model: str, version: str, into: Path) -> Path:
        """Return the folder of a version on this machine: the store's own, or a copy under *into* made now or before.

        Raises:
            ModelRefusedError: there is no such version, it is damaged, or another one lies under its name.

        """
        if self.folder is not None:
            return self.folder / model / version
        folder, path = into / model / version, self._path(model, version)
        content = self._content(f"{path}/{MANIFEST}")
        with self._reached():
            if not folder.exists():
                files = self._checked_files(path, parsed(content, ModelManifest, path))
                write_folder(folder, files | {MANIFEST: content})
            elif (folder / MANIFEST).read_bytes() != content:
                raise _other_version(model, version)
        return folder

    def _folders_with(self, pattern: str) -> list[str]:
        with self._reached():
            # fsspec's own glob passes by folders that are links.
            found = self.folder.glob(pattern) if self.folder else self._files.glob(f"{self._root}/{pattern}")
            names = {str(path).rsplit("/", 2)[-2] for path in found}
        return sorted(name for name in names if re.fullmatch(NAME_PATTERN, name))

    def _checked_files(self, path: str, manifest: ModelManifest) -> dict[str, bytes]:
        files = {}
        for name, digest in manifest.files.items():
            if not re.fullmatch(FILE_PATTERN, name):
                raise ModelRefusedError(f"{path}: model.json names {name!r}, which is not a plain file of the folder")
            files[name] = self._content(f"{path}/{name}")
            if digest_of(files[name]) != digest:
                raise ModelRefusedError(
                    f"{path}/{name}: sha256 differs from model.json; the file is damaged or was changed"
                )
        return files

    def _document(self, document: type[DocumentT], *parts: str) -> DocumentT:
        path = self._path(*parts)
        return parsed(self._content(path), document, path)

    def _content(self, path: str) -> bytes:
        with self._reached():
            try:
                return bytes(self._files.cat_file(path))
            except FileNotFoundError as error:
                setting = "OBSERVA_MODELS" if self.folder else "OBSERVA_STORE"
                raise ModelRefusedError(f"{path}: cannot be read (there is none); check {setting}") from error

    def _path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def _check_unmoved(self, model: str, before: Pointer | None) -> None:
        found = self.pointer(model) if self._files.exists(self._path(model, POINTER)) else None
        if found != before:
            raise _moved(model, found)

    def _catch_up(self, model: str, generation: int) -> None:
        """Write the newest claimed pointer: also of whoever died before writing it, or wrote an older one too late."""
        while self._files.exists(path := self._path(model, CLAIMS, f"{generation + 1}.json")):
            generation += 1
            self._files.pipe_file(self._path(model, POINTER), self._files.cat_file(path))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (ModelRefusedError, PointerMovedError, StoreError):
            raise
        except OSError as error:
            raise StoreError(
                f"{self}: {error.strerror or _first_line(error)}; check its name, and who may write there"
            ) from error
        except Exception as error:  # every kind of store raises errors of its own
            raise StoreError(f"{self}: {type(error).__name__}, {_first_line(error)}; check OBSERVA_STORE") from error


def store_of(settings: BrokerSettings) -> Store:
    """Return the store that the settings name: ``OBSERVA_STORE``, or the folder ``OBSERVA_MODELS``.

    Raises:
        SettingsError: fsspec knows no such store, or lacks the package for it.

    """
    return Store(settings.store or str(settings.models), settings.store_timeout_s)


def _moved(model: str, found: Pointer | None) -> PointerMovedError:
    now = (
        f"version {found.version} is live now, generation {found.generation}" if found else "it has no pointer any more"
    )
    return PointerMovedError(
        f"{model}: another change came first ({now}); look at: just models {model}, then try again"
    )


def _other_version(model: str, version: str) -> ModelRefusedError:
    return ModelRefusedError(
        f"{model} {version}: another version of that name is there already, and a version never changes; "
        "give this one another number"
    )


def _encoded(pointer: Pointer) -> bytes:
    return pointer.model_dump_json(exclude_defaults=True).encode() + b"\n"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

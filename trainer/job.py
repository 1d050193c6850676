"""A model of params.yaml on its way to a version: where its files are while it is made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.errors import SettingsError
from trainer.data import DataError
from trainer.params import ModelParams, Params
from trainer.prepare import Prepared, read_prepared
from trainer.settings import TrainerSettings


@dataclass(frozen=True)
class Job:
    """A model of params.yaml on its way to a version."""

    name: str
    params: Params
    settings: TrainerSettings

    @property
    def chosen(self) -> ModelParams:
        """The parameters of this model.

        Raises:
            SettingsError: params.yaml has no such model.

        """
        if self.name not in self.params.models:
            raise SettingsError(f"params.yaml has no model {self.name!r}; it has {', '.join(self.params.models)}")
        return self.params.models[self.name]

    @property
    def folder(self) -> Path:
        """Where its files are while it is made."""
        return self.settings.trainer_build / self.name

    def prepared(self) -> Prepared:
        """Return the data that the first stage wrote."""
        return read_prepared(self.folder / "data", self.chosen.labels)

    def read(self, name: str) -> dict[str, Any]:
        """Return what an earlier stage wrote as the JSON file *name*.

        Raises:
            DataError: it is not there.

        """
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder / name} cannot be read ({error}); run the earlier stages again") from error
        return found

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write *content* as the JSON file *name*, whole or not at all."""
        aside = self.folder / f".{name}"
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        aside.replace(self.folder / name)

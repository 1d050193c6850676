"""What an interrupted fine-tuning goes on from: one file of tensors and numbers, no pickle."""

import json
from pathlib import Path
from typing import Any

from trainer.finetune import EpochReport, Progress

PARTS = ("model", "best", "optimiser")


class Kept:
    """The file that an interrupted training goes on from; of another training, it is not read."""

    def __init__(self, path: Path, training: str) -> None:
        self.path, self._training = path, training

    def write(self, progress: Progress) -> None:
        """Write *progress*, whole or not at all."""
        from safetensors.torch import save_file  # noqa: PLC0415 torch loads in seconds: only those who train wait for it

        state = progress.state
        moments = {
            f"{at}.{name}": value for at, each in state["optimiser"]["state"].items() for name, value in each.items()
        }
        parts = {"model": state["model"], "best": progress.best, "optimiser": moments}
        tensors = {f"{part}:{name}": value for part, values in parts.items() for name, value in values.items()}
        numbers = {
            "training": self._training,
            "reports": progress.reports,
            "groups": state["optimiser"]["param_groups"],
            "schedule": state["schedule"],
            "shuffle": state["shuffle"],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".new")
        save_file(tensors | {"torch": state["torch"]}, aside, metadata={"numbers": json.dumps(numbers)})
        aside.replace(self.path)

    def read(self) -> Progress | None:
        """Return what was written last; None if there is none, it is damaged, or it is of another training."""
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415

        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                numbers: dict[str, Any] = json.loads((file.metadata() or {}).get("numbers", "{}"))
                if numbers.get("training") != self._training:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no mapping
        except SafetensorError:
            return None
        reports = [EpochReport(*report) for report in numbers["reports"]]
        print(f"going on after epoch {len(reports)}, which an earlier run finished")
        return _progress(reports, numbers, tensors)


def _progress(reports: list[EpochReport], numbers: dict[str, Any], tensors: dict[str, Any]) -> Progress:
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(":")
        if part in parts:
            parts[part][rest] = tensor
    moments: dict[int, dict[str, Any]] = {}
    for name, tensor in parts["optimiser"].items():
        at, _, moment = name.partition(".")
        moments.setdefault(int(at), {})[moment] = tensor
    state = {
        "model": parts["model"],
        "optimiser": {"state": moments, "param_groups": numbers["groups"]},
        "schedule": numbers["schedule"],
        "torch": tensors["torch"],
        "shuffle": numbers["shuffle"],
    }
    return Progress(reports, parts["best"], state)

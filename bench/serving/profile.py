"""``just profile``: where gateway, worker and monitor spend their time under load, as flame graphs in ``reports/``.

py-spy looks at each process some hundred times a second, from outside; ONNX Runtime counts its own operators. Both slow
down what they look at: read shares here, and figures from ``just bench``.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.serving import runs
from bench.serving.observa import observa
from bench.serving.profiled_worker import PROFILES
from bench.serving.rivals import own_folder
from bench.serving.systems import ROOT, measure

FOLDER: Final = ROOT / "reports" / "profile"
PARTS: Final = ("gateway", "worker", "monitor")
PER_SECOND: Final = 250
MOST: Final = 12  # lines of a summary


def main() -> None:
    """Put one model under load, look, and say where the time went."""
    parser = argparse.ArgumentParser(prog="just profile", description="Where the time goes: flame graphs in reports/.")
    parser.add_argument("model", nargs="?", choices=("echo", "sentiment-linear", "sentiment"), default="echo")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=64, help="under way at a time")
    chosen = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("onnxruntime*.json"):
        old.unlink()
    os.environ[PROFILES] = str(FOLDER)
    module = None if chosen.model == "echo" else "bench.serving.profiled_worker"
    with own_folder() as folder, observa(chosen.model, Path(folder), module=module) as running:
        measure(running, runs.plan(running, runs.WARM_UP_S, connections=chosen.calls))
        pids = {part: running.parts[part][0] for part in PARTS}
        for form, suffix in (("flamegraph", "svg"), ("raw", "txt")):
            with _watched(pids, form, suffix, chosen.seconds):
                plan = runs.plan(running, chosen.seconds + 1.0, connections=chosen.calls)
                measured = measure(running, plan)
    print(f"{chosen.model}: {measured.per_second:.0f} answers/s while watched\n")
    for part in PARTS:
        print(_summary(part, measured.cpu_us[part]))
    if operators := _operators(FOLDER.glob("onnxruntime*.json")):
        print(operators)
    print(f"flame graphs: {', '.join(f'{FOLDER.relative_to(ROOT)}/{part}.svg' for part in PARTS)}")


@contextmanager
def _watched(pids: dict[str, int], form: str, suffix: str, seconds: int) -> Iterator[None]:
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--rate", str(PER_SECOND), "--format", form]
    command += ["--duration", str(seconds), "--nonblocking"]
    watching = [
        subprocess.Popen(
            [*command, "--pid", str(pid), "--output", str(FOLDER / f"{part}.{suffix}")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for part, pid in pids.items()
    ]
    yield
    for process in watching:
        _, said = process.communicate(timeout=60)
        if process.returncode:
            sys.exit(f"observa: py-spy cannot look at a process (on Linux it may need root): {said.strip()[-300:]}")


def _summary(part: str, cpu_us: float) -> str:
    """Return which functions were running, themselves, in the share of samples in which any was."""
    own: Counter[str] = Counter()
    for line in (FOLDER / f"{part}.txt").read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        frame = stack.rpartition(";")[2]
        if "select (selectors.py" not in frame and "_worker (concurrent" not in frame:  # they wait
            own[frame.rpartition(":")[0] + ")"] += int(count)
    total = sum(own.values()) or 1
    lines = [f"  {count / total:5.1%}  {frame}" for frame, count in own.most_common(MOST)]
    return "\n".join([f"{part}, {cpu_us:.0f} us of processor time an answer", *lines, ""])


def _operators(files: Iterator[Path]) -> str:
    """Return which operators took most of the model's time, of all that ran."""
    taken: Counter[str] = Counter()
    for file in files:
        text = file.read_text(encoding="utf-8").rstrip().removesuffix(",")
        events: Sequence[dict[str, object]] = json.loads(text if text.endswith("]") else text + "]")  # cut off: killed
        for event in events:
            if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
                taken[str(event["args"]["op_name"])] += int(str(event["dur"]))  # type: ignore[index]
    total = sum(taken.values())
    lines = [f"  {time / total:5.1%}  {name}" for name, time in taken.most_common(MOST)]
    return "\n".join(["the model's operators, by ONNX Runtime", *lines, ""]) if total else ""


if __name__ == "__main__":
    main()

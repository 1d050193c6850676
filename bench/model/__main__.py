"""``just bench-model``: an encoder of the shipped size on one thread, by form, by length of the texts, by operator.

The weights are random: the time of a product does not depend on them. Texts are real, and share tensors as in a worker.
"""

import json
import os
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trainer.export import to_onnx
from trainer.lean import lean
from trainer.quantise import quantise
from worker.chunks import chunks

ROOT: Final = Path(__file__).parents[2]
TEXTS: Final = ROOT / ".cache" / "demo-texts.json"
TOKENIZER: Final = ROOT / "models" / "sentiment" / "1" / "tokenizer.json"
BATCH: Final = 32  # texts that a worker reads at once, sorts and cuts into chunks
BATCHES: Final = 4
LENGTHS: Final = (16, 64, 128, 256)  # tokens
OF_A_LENGTH: Final = 16  # texts
ROUNDS: Final = 3
SHOWN: Final = 12  # operators
HEADS: Final = 12
Feed = dict[str, NDArray[np.int64]]
Graphs = Mapping[str, bytes]


def main() -> None:
    """Print three tables: CPU time of a text, medians of rounds in which the forms take turns."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    graphs = _graphs()
    rows = _encoded()
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    shared = [_feed([batch[at] for at in part]) for batch in batches for part in chunks([len(row) for row in batch])]
    alone = [_feed([row]) for row in rows[:BATCH]]
    mean = sum(map(len, rows)) / len(rows)
    loads = {f"{BATCH} at once, in chunks": shared, "one at a time": alone}
    _print(f"Real texts of {mean:.1f} tokens, ms a text", _measured(graphs, loads))
    by_length = {f"{length} tokens": _made(length) for length in LENGTHS}
    _print("Texts of one length, in chunks, ms a text", _measured(graphs, by_length))
    _print(f"Operators, {BATCH} real texts at once, us a text", _profiles(graphs, shared))


def _graphs() -> Graphs:
    import torch  # noqa: PLC0415 it loads in seconds
    from transformers import DistilBertConfig, DistilBertForSequenceClassification  # noqa: PLC0415 the same

    torch.manual_seed(0)
    config = DistilBertConfig(dim=384, n_layers=6, n_heads=HEADS, hidden_dim=1536)
    model = DistilBertForSequenceClassification(config).train(mode=False)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)  # of biases that are all 0 the exporter keeps one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing
        single = to_onnx(model)
    small = quantise(single)
    return {"single precision": single, "int8 as exported": small, "int8 lean": lean(small, HEADS)}


def _encoded() -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_padding()
    texts = [text for text, _ in json.loads(TEXTS.read_bytes())["movies"]][: BATCH * BATCHES]
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def _made(length: int) -> list[Feed]:
    draw = np.random.default_rng(0)
    rows = [draw.integers(1000, 29_000, length).tolist() for _ in range(OF_A_LENGTH)]
    return [_feed([rows[at] for at in part]) for part in chunks([length] * OF_A_LENGTH)]


def _feed(rows: Sequence[Sequence[int]]) -> Feed:
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
        mask[at, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _measured(graphs: Graphs, loads: Mapping[str, list[Feed]]) -> dict[str, dict[str, float]]:
    """Return for each load the milliseconds of a text in each form."""
    sessions = {name: _session(content) for name, content in graphs.items()}
    found = {}
    for load, feeds in loads.items():
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(ROUNDS + 1):
            for name, session in sessions.items():
                times[name].append(1000 * _time(session, feeds) / _texts(feeds))
        found[load] = {name: median(each[1:]) for name, each in times.items()}  # the first round pays for memory
    return found


def _time(session: onnxruntime.InferenceSession, feeds: Sequence[Feed]) -> float:
    start = time.thread_time()
    for feed in feeds:
        session.run(None, feed)
    return time.thread_time() - start


def _texts(feeds: Sequence[Feed]) -> int:
    return sum(len(feed["input_ids"]) for feed in feeds)


def _profiles(graphs: Graphs, feeds: Sequence[Feed]) -> dict[str, dict[str, float]]:
    """Return for the operators that take most the microseconds of a text in each form, by ONNX Runtime's profiler."""
    taken = {name: _profile(content, feeds) for name, content in graphs.items()}
    largest = sum(taken.values(), Counter()).most_common(SHOWN)
    rows = {operator: {name: found[operator] for name, found in taken.items()} for operator, _ in largest}
    rest = {name: sum(found.values()) - sum(row[name] for row in rows.values()) for name, found in taken.items()}
    return rows | {"all others": rest, "all": {name: sum(found.values()) for name, found in taken.items()}}


def _profile(content: bytes, feeds: Sequence[Feed]) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        session = _session(content, f"{folder}/profile")
        _time(session, feeds)
        _time(session, feeds)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    taken: Counter[str] = Counter()
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["args"]["op_name"]] += event["dur"] / (2 * _texts(feeds))
    return taken


def _session(content: bytes, profile: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _print(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    names = list(next(iter(rows.values())))
    print(f"\n{title}\n\n| | {' | '.join(names)} |\n|-|{'-:|' * len(names)}")
    for what, row in rows.items():
        print(f"| {what} | {' | '.join(f'{row[name]:.4g}' for name in names)} |")


if __name__ == "__main__":
    main()

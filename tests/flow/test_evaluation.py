"""One labelled file, three ways to its accuracy: offline, through the system, and as the monitor counts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from broker.manifest import read_manifest
from broker.text import normalise
from tests.live.services import ROOT, SHIPPED, Services

FILE = ROOT / "examples" / "test.json"

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture
def services(own_server, tmp_path_factory):
    services = Services(own_server, tmp_path_factory.mktemp("services"), model="sentiment")
    services.ship("sentiment")
    yield services
    services.stop()


def offline_accuracy(rows: list[dict[str, str]], folder: Path) -> float:
    """One text at a time through ONNX Runtime and the tokenizer, with nothing of the worker's."""
    manifest = read_manifest(folder)
    session = onnxruntime.InferenceSession((folder / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest.max_length)
    right = 0
    for row in rows:
        ids = tokenizer.encode(normalise(row["text"], manifest.normalisation)).ids
        feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        [logits] = session.run(["logits"], feed)
        right += manifest.labels[int(logits[0].argmax())] == row["true_sentiment"]
    return right / len(rows)


def test_offline_online_and_monitor_agree(services, tmp_path):
    services.worker()
    gateway, monitor = services.gateway(), services.monitor()
    output = tmp_path / "metrics.json"
    done = subprocess.run(
        [sys.executable, "-m", "cli", "evaluate", str(FILE), "--output", str(output)],
        cwd=ROOT,
        env=os.environ | {"OBSERVA_GATEWAY_URL": gateway.url, "OBSERVA_MONITOR_URL": monitor.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows, metrics = json.loads(FILE.read_text()), json.loads(output.read_text())
    assert metrics["count"] == len(rows)
    assert metrics["accuracy"] == pytest.approx(offline_accuracy(rows, SHIPPED / "sentiment" / "1"), abs=1e-12)
    report = httpx.get(f"{monitor.url}/report/sentiment").json()
    [seen] = report["evaluations"][metrics["run_id"]].values()
    assert (seen["count"], seen["correct"] / seen["count"]) == (len(rows), pytest.approx(metrics["accuracy"]))
    windows = report["versions"].get("1", {}).get("accuracy", {})
    assert all(window.get("count", 0) == 0 for window in windows.values()), "an evaluation is no live traffic"

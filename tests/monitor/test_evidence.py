from pathlib import Path

import numpy as np

from tests.monitor.entries import START_MS, draw, entry, feedback, labels_of, prediction_id, results_of, state

ROOT = Path(__file__).parents[2]


def test_every_alarm_says_what_was_and_what_is_with_examples_and_a_page() -> None:
    rng, watched = np.random.default_rng(3), state()
    alerts = watched.results.fold(results_of(draw(rng, 4000, longer=0.5, positive=0.9)))
    alerts += watched.feedback.fold(labels_of([True] * 300 + [False] * 200))
    tagged = [
        entry(feedback(False, id=prediction_id(START_MS, i), tags={"source": "app"}), START_MS + 60_000, i)
        for i in range(200)
    ]
    alerts += watched.feedback.fold(tagged)
    began = {(alert.detector, alert.feature): alert for alert in alerts if alert.state == "firing"}
    assert {"psi", "cusum", "e-sr", "wilson", "adwin"} <= {detector for detector, _ in began}
    assert ("e-sr", "accuracy/source=app") in began
    for name, alert in began.items():
        evidence = alert.evidence
        bins = evidence["labels"] if "labels" in evidence else [*evidence["edges"], "above"]
        assert len(bins) == len(evidence["reference"]) == len(evidence["current"]), name
        assert sum(evidence["current"]) > 0, name
        assert evidence["window"], name
        assert START_MS <= evidence["onset_ms"] <= alert.at_ms, name
        assert evidence["sample_ids"][-1].startswith("sentiment.0."), name
        assert (ROOT / evidence["runbook"]).is_file(), name

import numpy as np
import pytest

from trainer.calibrate import calibration_error, cross_entropy, temperature

pytest.importorskip("scipy")


def drawn(count: int, heat: float):
    """Logits whose softmax is the truth, then made bolder by *heat*."""
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(count, 3)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([draw.choice(3, p=share) for share in shares])
    return logits * heat, truth


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(heat):
    logits, truth = drawn(4000, heat)
    assert temperature(logits, truth) == pytest.approx(heat, rel=0.08)


def test_no_other_temperature_has_a_lower_loss():
    logits, truth = drawn(500, 2.0)
    best = temperature(logits, truth)
    losses = [cross_entropy(logits / (best * factor), truth) for factor in (0.9, 1.0, 1.1)]
    assert losses[1] == min(losses)


def test_an_error_of_calibration_is_the_distance_from_confidence_to_truth():
    assert calibration_error(np.full(100, 0.9), np.arange(100) % 10 < 7) == pytest.approx(0.2)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0.0

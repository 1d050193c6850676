import pytest

from broker.errors import SettingsError
from worker.settings import WorkerSettings
from worker.speed import CHARACTERS, Speed, batch_that_fits, check_claim_time


def test_experience_corrects_what_the_warm_up_measured():
    speed = Speed(100, 32)
    for _ in range(60):
        speed.learn(32, 0.16)
    assert speed.texts_per_second == pytest.approx(200, rel=0.01)


def test_a_small_batch_says_nothing_of_full_speed():
    speed = Speed(100, 32)
    speed.learn(1, 0.5)
    assert speed.texts_per_second == 100


def test_a_claim_time_that_recovers_too_late_is_refused():
    check_claim_time(WorkerSettings(sync_deadline_ms=30_000, claim_ms=14_000))
    with pytest.raises(SettingsError, match=r"OBSERVA_CLAIM_MS=14001.*set it to 14000 or less"):
        check_claim_time(WorkerSettings(sync_deadline_ms=30_000, claim_ms=14_001))


def test_a_slow_machine_reads_fewer_texts_at_once_and_refuses_only_when_one_is_too_many():
    settings = WorkerSettings(claim_ms=3000, worker_batch=32)
    assert batch_that_fits(settings, "toy", 0.5) == 32
    assert batch_that_fits(settings, "toy", 2.0) == 16
    assert batch_that_fits(settings, "toy", 31.0) == 1
    with pytest.raises(SettingsError, match="three of the slowest texts of toy; set it to 3300 or more"):
        batch_that_fits(settings, "toy", 35.2)


def test_models_are_named_with_commas(monkeypatch):
    monkeypatch.setenv("OBSERVA_WORKER_MODELS", "sentiment, other,sentiment")
    monkeypatch.setenv("OBSERVA_WORKER_SLOT", "3")
    settings = WorkerSettings()
    assert settings.worker_models == ("sentiment", "other")
    assert settings.metrics_port == 9104


def test_how_long_texts_should_take_is_told_by_their_number_and_where_they_are_long_by_their_size():
    speed = Speed(100, 32)
    assert speed.expected_s(["a film"] * 8) == pytest.approx(0.08)
    assert speed.expected_s(["x" * 10 * CHARACTERS]) == pytest.approx(0.1)

import pytest


@pytest.fixture(autouse=True)
def _short_reads(monkeypatch):
    """A stop waits for the read that runs; most of these tests stop a worker."""
    monkeypatch.setattr("worker.reading.BLOCK_MS", 100)

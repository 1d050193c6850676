import pytest

from bench.monitor import speed


def test_what_is_drawn_for_the_speed_of_the_monitor_is_what_a_worker_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "BLOCK", 2000)
    assert speed._block().count(b"XADD") == speed.BLOCK

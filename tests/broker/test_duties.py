"""A task that must not be lost, and the process around it."""

import asyncio
import signal
import subprocess
import sys

import pytest

from broker.duties import Duties, Pulse, exit_codes
from broker.errors import ObservaError
from tests.servers import eventually


@pytest.fixture
def signals(monkeypatch):
    """The signals that were raised; none reaches the tests' own process."""
    raised = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    return raised


async def forever():
    await asyncio.Event().wait()


async def wrong():
    raise RuntimeError("what a caller sent")


async def _is(holds):
    return holds


@pytest.mark.parametrize("lost", ["a mistake", "a cancellation"])
async def test_a_task_that_is_lost_has_the_process_end_with_1_and_says_where(signals, caplog, lost):
    duties = Duties()
    task = duties.begin(wrong() if lost == "a mistake" else forever())
    if lost == "a cancellation":
        task.cancel()
    await asyncio.wait([task])
    await eventually(lambda: _is(signals), "the signal")
    assert signals == [signal.SIGTERM]
    (record,) = caplog.records
    assert record.levelname == "CRITICAL"
    assert (lost == "a mistake") == ("wrong is lost" in record.getMessage())
    with pytest.raises(SystemExit, match="1"):
        duties.leave()


async def test_tasks_that_return_or_are_ended_are_not_lost(signals):
    duties = Duties()
    begun = [duties.begin(forever()) for _ in range(3)]
    await duties.begin(asyncio.sleep(0))
    await duties.end(begun[:1])
    await duties.stop()
    await asyncio.sleep(0)
    assert all(task.cancelled() for task in begun)
    assert not signals
    with pytest.raises(SystemExit, match="0"):
        duties.leave()


async def test_a_failure_while_it_stops_shows_in_the_exit_code_alone(signals):
    async def fails_late():
        try:
            await forever()
        finally:
            raise RuntimeError

    duties = Duties()
    duties.begin(fails_late())
    await asyncio.sleep(0)
    await duties.stop()
    assert not signals
    with pytest.raises(SystemExit, match="1"):
        duties.check()


async def test_what_a_person_can_put_right_is_one_line_and_exit_code_2(signals, capsys):
    async def refused():
        raise ObservaError("stop one of the two")

    duties = Duties()
    await asyncio.wait([duties.begin(refused())])
    await eventually(lambda: _is(signals), "the signal")
    with pytest.raises(SystemExit, match="2"), exit_codes("toy"):
        duties.check()
    assert capsys.readouterr().err == "observa toy: stop one of the two\n"


async def test_a_loop_that_does_not_come_round_is_named_until_it_does():
    duties, pulse = Duties(), Pulse(still_s=0)
    task = duties.begin(forever(), pulse)
    await eventually(lambda: _is(duties.stuck()), "it is stuck")
    assert duties.stuck() == ["forever"]
    await duties.end([task])
    assert duties.stuck() == []


def test_a_process_that_comes_round_between_two_looks_is_given_all_of_them_anew(monkeypatch):
    looks = iter([["loop"], ["loop"], [], ["loop"], ["loop"], ["loop"], ["loop"]])
    mine, codes = Duties(), []
    monkeypatch.setattr("broker.duties.LOOK_S", 0)
    monkeypatch.setattr("broker.duties.os._exit", codes.append)
    monkeypatch.setattr(mine, "stuck", lambda: next(looks))
    mine._guard()
    assert codes == [1]
    assert list(looks) == []


GUARDED = """
import asyncio, sys, time
from broker import duties
duties.LOOK_S = 0.05
if sys.argv[1] == "late":
    duties.LEAVE_S = 0

async def main():
    mine, pulse = duties.Duties(), duties.Pulse(still_s=0.2)
    mine.guard()
    async def loop():
        while True:
            pulse.beat()
            await asyncio.sleep(0.01)
    task = mine.begin(loop(), pulse)
    await asyncio.sleep(0.5)
    print("came round", flush=True)
    match sys.argv[1]:
        case "stuck":
            pulse.beat = lambda: None
            await asyncio.sleep(60)
        case "blocked":
            time.sleep(60)
        case "late":
            await mine.stop()
            await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["stuck", "blocked", "late"])
def test_a_process_whose_loop_hangs_or_that_does_not_leave_is_ended(how):
    done = subprocess.run([sys.executable, "-c", GUARDED, how], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (1, "came round\n"), done.stderr
    assert "it hangs" in done.stderr

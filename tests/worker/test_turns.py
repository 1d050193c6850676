import asyncio
import threading

import pytest

from tests.servers import eventually
from worker.turns import Turns


async def order_of(turns, *names):
    """Queue one piece of work per name behind one that waits, and return the order in which they ran."""
    gate, ran = threading.Event(), []
    first = asyncio.create_task(turns.run("first", gate.wait))
    await asyncio.sleep(0)
    others = [asyncio.create_task(turns.run(name, lambda name=name: ran.append(name))) for name in names]
    await asyncio.sleep(0)
    return gate, ran, first, others


async def test_models_take_turns_however_much_one_of_them_has_waiting():
    turns = Turns()
    gate, ran, first, others = await order_of(turns, "busy", "busy", "busy", "quiet", "third", "quiet")
    gate.set()
    await asyncio.gather(first, *others)
    assert ran == ["busy", "quiet", "third", "busy", "quiet", "busy"]
    turns.close()


async def test_only_one_piece_of_work_runs_at_a_time():
    turns, inside, most = Turns(), [], []

    def work():
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    await asyncio.gather(*(turns.run(str(n % 3), work) for n in range(50)))
    assert max(most) == 1
    turns.close()


async def test_the_event_loop_is_free_while_a_batch_runs():
    turns, gate = Turns(), threading.Event()
    running = asyncio.create_task(turns.run("a", gate.wait))
    await asyncio.sleep(0.01)
    assert not running.done()
    gate.set()
    await running
    turns.close()


async def test_who_gives_up_waiting_keeps_nobody_else_from_their_turn():
    turns = Turns()
    gate, ran, first, others = await order_of(turns, "a", "b", "c")
    others[1].cancel()
    gate.set()
    await asyncio.gather(first, others[0], others[2])
    assert ran == ["a", "c"]
    assert await turns.run("d", lambda: 4) == 4
    turns.close()


async def test_work_that_fails_passes_the_turn_on():
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        await turns.run("a", lambda: 1 / 0)
    assert await turns.run("b", lambda: 2) == 2
    turns.close()


async def test_work_that_nobody_waits_for_begins_when_nobody_else_works_and_holds_nobody_up():
    turns, gate, order = Turns(), threading.Event(), []
    live = asyncio.create_task(turns.run("a", lambda: (gate.wait(20), order.append("live"))))
    await asyncio.sleep(0)
    behind_gate = threading.Event()
    behind = asyncio.create_task(turns.run_behind(lambda: (order.append("behind"), behind_gate.wait(20))))
    second = asyncio.create_task(turns.run("b", lambda: order.append("live")))
    gate.set()
    await asyncio.gather(live, second)
    await eventually(lambda: asyncio.sleep(0, "behind" in order), "the other work has begun")
    await turns.run("a", lambda: order.append("meanwhile"))
    assert order == ["live", "live", "behind", "meanwhile"]
    behind_gate.set()
    await behind
    turns.close()


async def test_work_behind_that_raises_or_is_given_up_leaves_room_for_the_next():
    turns, gate = Turns(), threading.Event()
    with pytest.raises(ZeroDivisionError):
        await turns.run_behind(lambda: 1 / 0)
    live = asyncio.create_task(turns.run("a", lambda: gate.wait(20)))
    await asyncio.sleep(0)
    given_up = asyncio.create_task(turns.run_behind(lambda: 1))
    await asyncio.sleep(0)
    given_up.cancel()
    gate.set()
    await live
    assert await turns.run_behind(lambda: 2) == 2
    turns.close()


async def test_brief_work_stays_on_the_event_loop_and_waits_for_its_turn_as_well():
    turns, gate, ran = Turns(), threading.Event(), []
    running = asyncio.create_task(turns.run("a", lambda: (gate.wait(20), ran.append(threading.get_ident()))))
    await asyncio.sleep(0)
    brief = asyncio.create_task(turns.run("b", lambda: ran.append(threading.get_ident()), brief=True))
    await asyncio.sleep(0.01)
    assert not ran
    gate.set()
    await asyncio.gather(running, brief)
    assert len(ran) == 2
    assert ran[0] != ran[1] == threading.get_ident()
    turns.close()

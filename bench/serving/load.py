"""The load generator: raw HTTP/1.1 over kept-alive connections, in a process of its own.

``python -m bench.serving.load PORT PLAN`` reads a plan (`Plan` as JSON) and prints what it saw (`Seen` as JSON).
A closed loop keeps so many calls under way. An open loop sends at a constant rate whatever comes back, and counts a
call's time from when it was due: a server that stalls is not spared the calls it held up.
"""

import asyncio
import json
import resource
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

import uvloop

MOST_CONNECTIONS = 1024  # of an open loop; a call that finds none free waits, and its wait counts
GRACE_S = 10.0  # for the answers still on their way at the end


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, and how."""

    requests: tuple[str, ...]  # whole HTTP requests, sent in turn
    seconds: float
    connections: int | None = None  # closed loop
    per_second: float | None = None  # open loop
    warm_up_s: float = 0.0  # the same load before, not counted


@dataclass(slots=True)
class Seen:
    """What came back."""

    wall_s: float = 0.0
    cpu_s: float = 0.0  # of the load generator
    latencies_ms: list[float] = field(default_factory=list)  # of good answers, in order of arrival
    bad: dict[str, int] = field(default_factory=dict)  # status line, or what went wrong, to count
    reported_ms: float = 0.0  # mean of the answers' own timing_ms.total, where they have one


class _Call(asyncio.Protocol):
    """One connection: one call at a time."""

    def __init__(self, load: "_Load") -> None:
        self.load = load
        self.transport: asyncio.Transport | None = None
        self.due = 0.0
        self.busy = False
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self, due: float) -> None:
        assert self.transport is not None
        self.due, self.busy = due, True
        self.transport.write(self.load.next_request())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end]).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            size = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < size:
                return
        elif not self.buffer.endswith(b"0\r\n\r\n"):  # chunked
            return
        body = bytes(self.buffer[end + 4 :])
        self.buffer.clear()
        self.busy = False
        self.load.answered(self, head[9:12].decode(), body)

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self.load.failed(type(error).__name__ if error else "closed")
        else:
            self.load.left(self)


class _Load:
    def __init__(self, port: int, plan: Plan) -> None:
        self.port = port
        self.plan = plan
        self.seen = Seen()
        self._requests = [request.encode() for request in plan.requests]
        self._next = 0
        self._counting = False
        self._stopped = False
        self._free: list[_Call] = []
        self._waiting: deque[float] = deque()
        self._connections = 0
        self._under_way = 0
        self._reported: list[float] = []

    def next_request(self) -> bytes:
        self._next += 1
        return self._requests[self._next % len(self._requests)]

    def answered(self, call: _Call, status: str, body: bytes) -> None:
        now = time.perf_counter()
        if self._counting:
            if status == "200":
                self.seen.latencies_ms.append((now - call.due) * 1000)
                if (at := body.find(b'"total":')) > 0:
                    self._reported.append(float(body[at + 8 : at + 24].split(b"}")[0].split(b",")[0]))
            else:
                self.seen.bad[status] = self.seen.bad.get(status, 0) + 1
        self._done(call, now)

    def failed(self, why: str) -> None:
        if self._counting:
            self.seen.bad[why] = self.seen.bad.get(why, 0) + 1
        self._connections -= 1
        self._under_way -= 1
        if not self._stopped:
            asyncio.get_running_loop().create_task(self._replace())

    def left(self, call: _Call) -> None:
        """Use a connection no more that the server closed because it was idle."""
        if call in self._free:
            self._free.remove(call)
            self._connections -= 1

    async def run(self) -> Seen:
        """Warm up, measure, and wait a little for the last answers."""
        loop = asyncio.get_running_loop()
        if self.plan.connections:
            for _ in range(self.plan.connections):
                await self._connect()
            for call in tuple(self._free):
                self._begin(call, time.perf_counter())
            self._free.clear()
            await asyncio.sleep(self.plan.warm_up_s)
            await self._measure(asyncio.sleep(self.plan.seconds))
        else:
            for _ in range(16):
                await self._connect()
            await self._send_at_rate(self.plan.warm_up_s)
            await self._measure(self._send_at_rate(self.plan.seconds))
        self._stopped = True
        until = loop.time() + GRACE_S
        while self._under_way and loop.time() < until:  # noqa: ASYNC110 nobody tells
            await asyncio.sleep(0.01)
        if self._under_way:
            self.seen.bad["no answer"] = self._under_way
        if self._reported:
            self.seen.reported_ms = sum(self._reported) / len(self._reported)
        return self.seen

    async def _measure(self, period: "asyncio.Future[None] | object") -> None:
        self._counting = True
        wall, cpu = time.perf_counter(), _cpu_s()
        await period  # type: ignore[misc]
        self.seen.wall_s, self.seen.cpu_s = time.perf_counter() - wall, _cpu_s() - cpu
        if self.plan.connections:
            self._counting = False  # what a closed loop has under way was not answered in time

    async def _send_at_rate(self, seconds: float) -> None:
        rate = self.plan.per_second
        assert rate is not None
        began, sent = time.perf_counter(), 0
        while sent < int(seconds * rate):
            due = began + sent / rate
            pause = due - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            sent += 1
            if self._free:
                self._begin(self._free.pop(0), due)  # the one that rested longest: servers close what rests too long
            else:
                self._waiting.append(due)
                if self._connections < MOST_CONNECTIONS:
                    self._connections += 1
                    asyncio.get_running_loop().create_task(self._replace(counted=True))

    def _begin(self, call: _Call, due: float) -> None:
        self._under_way += 1
        call.send(due)

    def _done(self, call: _Call, now: float) -> None:
        self._under_way -= 1
        if self._waiting:
            self._begin(call, self._waiting.popleft())
        elif self.plan.connections and not self._stopped:
            self._begin(call, now)
        else:
            self._free.append(call)

    async def _connect(self, *, counted: bool = False) -> _Call:
        self._connections += not counted
        _, call = await asyncio.get_running_loop().create_connection(lambda: _Call(self), "127.0.0.1", self.port)
        self._free.append(call)
        return call

    async def _replace(self, *, counted: bool = False) -> None:
        try:
            call = await self._connect(counted=counted)
        except OSError as error:
            self._connections -= 1
            self.seen.bad[type(error).__name__] = self.seen.bad.get(type(error).__name__, 0) + 1
            return
        if self._waiting:
            self._free.remove(call)
            self._begin(call, self._waiting.popleft())
        elif self.plan.connections:
            self._free.remove(call)
            self._begin(call, time.perf_counter())


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _main() -> None:
    seen = await _Load(int(sys.argv[1]), Plan(**json.loads(sys.stdin.read()))).run()
    json.dump(asdict(seen), sys.stdout)


if __name__ == "__main__":
    uvloop.run(_main())

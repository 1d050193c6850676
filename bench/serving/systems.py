"""What is put under load, and the bodies it wants."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import httpx
import psutil

from bench.serving.load import Plan, Seen

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("negative", "positive")  # of the models that are compared


@dataclass(frozen=True, slots=True)
class Running:
    """A system that answers: its port, where to post, and which processes do what."""

    port: int
    path: str
    parts: Mapping[str, Sequence[int]]  # part to the process ids whose whole trees it is
    body: str = '{"text":%s}'  # with the text as JSON in place of %s

    def body_of(self, text: str) -> str:
        """Return the body that asks for *text*."""
        return self.body % json.dumps(text)

    def request(self, text: str) -> str:
        """Return a whole HTTP request that asks for *text*."""
        return self.request_of(self.body_of(text))

    def request_of(self, text: str) -> str:
        """Return a whole HTTP request with the body *text*."""
        body = text.encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
        return head + f"Content-Length: {len(body)}\r\n\r\n{body.decode()}"

    def labels(self, texts: Sequence[str]) -> list[str]:
        """Return the label that each of *texts* gets.

        Raises:
            httpx.HTTPError: a call failed.

        """
        found = []
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30) as client:
            for text in texts:
                headers = {"content-type": "application/json"}
                answer = client.post(self.path, content=self.body_of(text).encode(), headers=headers).raise_for_status()
                found += [value for value in _values(answer.json()) if value in LABELS]
        return found

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time each part has used, children included, seconds."""
        return {part: sum(map(_tree_cpu_s, pids)) for part, pids in self.parts.items()}

    def memory_mb(self) -> float:
        """Return the proportional set size of all parts together, megabytes."""
        return sum(self.memory_mb_of_parts().values())

    def memory_mb_of_parts(self) -> dict[str, float]:
        """Return the same of each part."""
        return {part: sum(map(_tree_pss, pids)) / 1e6 for part, pids in self.parts.items()}


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one system."""

    seen: Seen
    cpu_us: Mapping[str, float]  # of each part, per good answer
    load_average: float

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return len(self.seen.latencies_ms) / self.seen.wall_s


def measure(running: Running, plan: Plan) -> Measured:
    """Put *plan*'s load on *running* from another process; the CPU of the warm-up is counted with its answers left out.

    So warm up by a plan of its own where the split of the processor time matters.
    """
    before, load = running.cpu_s(), psutil.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, "-m", "bench.serving.load", str(running.port)],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    seen = Seen(**json.loads(done.stdout))
    used = running.cpu_s()
    answers = max(1, len(seen.latencies_ms))
    return Measured(seen, {part: (used[part] - before[part]) / answers * 1e6 for part in used}, load)


def _values(document: object) -> Iterator[object]:
    """Yield everything in a JSON document that is neither a name nor a container: each system words it otherwise."""
    match document:
        case dict():
            yield from chain.from_iterable(map(_values, document.values()))
        case list():
            yield from chain.from_iterable(map(_values, document))
        case _:
            yield document


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _tree_cpu_s(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        used = process.cpu_times()
        total += used.user + used.system
    return total


def _tree_pss(pid: int) -> float:
    return sum(float(process.memory_full_info().pss) for process in _tree(pid))

"""A call of every script, and a log in the middle of which it is at work."""

import json
from pathlib import Path
from typing import Any

from redis import Redis as SyncRedis

from broker import scripts
from broker.streams import IDEM_SLOTS, WORKERS, Tag
from monitor import snapshot

TAG = Tag("toy")
OTHERS = 50  # requests to an entry of another stream
AT_ONCE, PIECE = 10_000, 50_000
FILL = """
local fields = cjson.decode(ARGV[2])
for number = tonumber(ARGV[3]) + 1, tonumber(ARGV[1]) do
  redis.call('XADD', KEYS[1], (number + 1) .. '-1', unpack(fields))
end
"""
STREAMS = (TAG.requests, TAG.results, TAG.feedback, TAG.dead, TAG.alerts, TAG.explain, TAG.explanations)
ID = "toy.0.019ead29-f1a6-7893-a0ab-4a99c1ad3311"
ROW = {"entry": "5-1", "id": ID, "uuid": ID[-36:], "hour": "1", "answers": 9, "joins": 10, "replies": 11}
CAME = {"result": ["id", ID], "answer": 6, "row": ["a", "0.9", "1", "", "{}", 0], "ms": 1, "label": "a"}
SETTLED = ROW | CAME | {"dead": ["id", ID]}
HELD = {"answers": 5, "pending": "pending", "deadline_ms": 30_000}
REQUEST = {"id": ID, "uuid": ID[-36:], "fields": ["id", ID, "text", "x"], **HELD}
UNIT = {"idem": "k", "before": 6, "body": "b", "entries": [REQUEST]}
RING = [TAG.idem_ring, *map(TAG.idem, range(IDEM_SLOTS))]
SETTLING = (TAG.answers(2), TAG.joins(2), TAG.replies("g"))
NOTHING, MONITOR = "of-the-test:nothing", TAG.key("monitor")
HISTORY = "of the server"  # stands for what the server says of itself

# keys and arguments of a call of each script, at work in the middle of the log
CALLS = {
    "accept": (
        [TAG.requests, TAG.backlog, TAG.waiting, TAG.entry_bytes, TAG.answers(1), TAG.idem("k"), *RING],
        [json.dumps([UNIT]), 1e9, 1e12, 60, 60, 7, IDEM_SLOTS],
    ),
    "account": ([TAG.requests, TAG.gaps, TAG.backlog], ["requests/", WORKERS]),
    "archived": ([TAG.lease("files"), TAG.born, TAG.results], ["me", "b", "archive", "11-1", "500-1", 489]),
    "claim": ([TAG.requests, TAG.gaps, TAG.suspects("5-1"), TAG.backlog], [WORKERS, "v", 0, "5-1", "requests/w", 60]),
    "erase": ([TAG.requests, TAG.backlog], [WORKERS, "now", "5-1", "6-1", "7-1"]),
    "explain": ([TAG.explained("x"), TAG.explain, TAG.explainer], ["{}", 60, 1e9, "id", "x"]),
    "explained": ([TAG.explain, TAG.explained("x"), TAG.explanations], ["g", "5-1", "{}", 60, 1000, "id", "x"]),
    "feedback": ([TAG.joins(1), TAG.answers(1), TAG.feedback, TAG.joined], [ID, ID[-36:], "b", 60, 1, 1, "any"]),
    "mirror": ([NOTHING], [5, "over", "live", "1"]),
    "progress": ([TAG.explained("x")], ["{}"]),
    "reap": ([TAG.requests], [WORKERS, "idle"]),
    "redrive": (
        [TAG.dead, TAG.requests, TAG.backlog, TAG.waiting, TAG.answers(1)],
        ["5-1", ID, ID[-36:], 60, 30_000],
    ),
    "refresh": ([TAG.requests], [WORKERS, "w", "5-1", "6-1"]),
    "release": ([TAG.lease("files")], ["me"]),
    "replayed": ([TAG.key("replay:x")], [json.dumps([["id", "x"]]), 100, 60]),
    "settle": (
        [
            *STREAMS[:4],
            TAG.backlog,
            TAG.joined,
            TAG.waiting,
            TAG.unanswered,
            TAG.answers(2),
            TAG.joins(2),
            TAG.replies("g"),
        ],
        [WORKERS, json.dumps([SETTLED]), 60, 60, "none", "{}"],
    ),
    "shadow": ([TAG.requests, TAG.results], ["shadow.2", json.dumps([{"entry": "5-1", "result": ["id", "x"]}])]),
    "take": ([TAG.lease("files")], ["me", 10_000]),
    "trim": ([TAG.requests, TAG.gaps], ["999999-1", AT_ONCE, "requests/"]),
    "monitor.claim": ([MONITOR, TAG.results, TAG.feedback], ["me", 0]),
    "monitor.snapshot": (
        [MONITOR, TAG.born, TAG.results, TAG.feedback, TAG.alerts, TAG.key("checkpoints")],
        [9e15, "me", "b", "state", "999-1", 998, "999-1", 998, 1000, "1", 28, 1, 1, 2, "kind", "began", HISTORY],
    ),
}
OURS = {file.stem: file for file in scripts.FOLDER.glob("*.lua") if file.name != scripts.PRELUDE} | {
    f"monitor.{file.stem}": file for file in Path(snapshot.__file__).parent.glob("*.lua")
}


def fill(redis, length):
    """Fill the log with so many entries; groups stand in the middle, and hold some of the first."""
    redis.flushall()
    redis.config_set("appendonly", "no")  # or it takes ten times as long
    for stream in STREAMS:
        fields = ["entry", json.dumps(["id", ID])] if stream == TAG.dead else ["text", "x"]
        entries = length if stream == TAG.requests else length // OTHERS
        for start in range(0, entries, PIECE):
            redis.eval(FILL, 1, stream, min(start + PIECE, entries), json.dumps(fields), start)
        for group in (WORKERS, "archive", "shadow.2", "g"):
            redis.xgroup_create(stream, group, id="0")
            redis.xreadgroup(group, "w", {stream: ">"}, count=10)
            if group in {WORKERS, "g"}:
                redis.xgroup_setid(stream, group, f"{entries // 2}-1", entries_read=entries // 2)
    redis.config_set("appendonly", "yes")
    redis.set(TAG.lease("files"), "me")
    redis.set(TAG.born, "b")
    redis.set(TAG.explainer, "me")
    redis.set(TAG.explained("x"), "{}")
    redis.hset(TAG.joins(1), ID[-36:], json.dumps(["a", "0.9", "1", ""]))


def run(redis: SyncRedis, name: str, before: str = "") -> Any:
    """Make the call of this script, with Lua *before* its text."""
    said = redis.info()
    history = f"{said['run_id']} {said['master_replid']}"
    keys, arguments = CALLS[name]
    given = [history if argument == HISTORY else argument for argument in arguments]
    text = before + (scripts.FOLDER / scripts.PRELUDE).read_text() + OURS[name].read_text()
    return redis.eval(text, len(keys), *keys, *given)

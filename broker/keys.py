"""Every key that Observa writes, in one table: what it holds, what of that is a person's, and how it is forgotten."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, Literal

from redis.asyncio import Redis

from broker.manifest import NAME_PATTERN
from broker.streams import Tag

PAGE: Final = 1000
# What comes after the braces but for join rows and answers: there may be a key of those for each second and minute.
_BUT_JOINS_AND_ANSWERS: Final = "[^ja]*"

Kind = Literal["stream", "hash", "string", "set", "zset"]
Scope = Literal["TAG", "MODEL", "server"]


class Erased(StrEnum):
    """How `broker.forgetting` erases what a key holds of one prediction."""

    ENTRIES = "its entries, once their readers are done"
    ENTRIES_NOW = "its entries"
    FIELD = "its field"
    KEY = "the key"
    NAMED = "its fields that name the prediction"
    STAYS = "stays, and leads nowhere any more"
    NOTHING = "-"


@dataclass(frozen=True)
class Key:
    """One kind of key: of each model and shard (TAG), of each model, or the only one on the server."""

    name: str  # with what varies in capitals: answers:MINUTE
    kind: Kind
    holds: str
    personal: str = "-"  # what it can hold of a text, or of who sent it
    erased: Erased = Erased.NOTHING
    scope: Scope = "TAG"

    @property
    def pattern(self) -> str:
        """The key as the documents write it."""
        return f"observa:{self.name}" if self.scope == "server" else f"observa:{{{self.scope}}}:{self.name}"

    @property
    def is_one(self) -> bool:
        """Whether there is one of it in its scope."""
        return self.name.islower()

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """What its keys match, with the groups model and shard."""
        shard = r"(?:/(?P<shard>[1-9][0-9]{0,3}))?" if self.scope == "TAG" else "(?P<shard>)"
        braces = "" if self.scope == "server" else rf"\{{(?P<model>{NAME_PATTERN}){shard}\}}:"
        return re.compile(rf"observa:{braces}{re.sub(r':[A-Z]+$', ':.+', self.name)}", re.DOTALL)


TABLE: Final = (
    Key("requests", "stream", "one text to classify", "text, subject, tags, true label", Erased.ENTRIES),
    Key("results", "stream", "one prediction or one error", "id, label, tags", Erased.ENTRIES),
    Key("feedback", "stream", "one true label beside its prediction", "id, labels, tags", Erased.ENTRIES),
    Key("dead", "stream", "what could not be processed, and why", "as requests", Erased.ENTRIES),
    Key("alerts", "stream", "an alarm began or ended, with its evidence", "ids of wrong answers, tags", Erased.STAYS),
    Key("explain", "stream", "one text to explain, 15 minutes at most", "id, text", Erased.ENTRIES_NOW),
    Key("explanations", "stream", "what came of one explanation, without its words", "id, label", Erased.ENTRIES_NOW),
    Key("explained:ID", "string", "one explanation with its words, 15 minutes", "id, text", Erased.KEY),
    Key("explainer", "string", "that an explainer is there"),
    Key("replies:GATEWAY", "stream", "answers for those who wait; expires", "id, answer", Erased.ENTRIES_NOW),
    Key("replay:RUN", "stream", "results of a replay, for a day", "id, label, tags", Erased.ENTRIES_NOW),
    Key(
        "answers:MINUTE",
        "hash",
        "id to `pending` or the answer, and the API key, 15 minutes",
        "id, answer",
        Erased.FIELD,
    ),
    Key("joins:SECOND", "hash", "id to label, confidence, version, API key, 7 days", "id, labels, tags", Erased.FIELD),
    Key(
        "idem:SLOT",
        "hash",
        "Idempotency-Keys and their ids, 24 hours; one of a ring of sixteen, and `ring`",
        "ids, digests",
        Erased.NAMED,
    ),
    Key("born", "string", "random; another value is another log"),
    Key("backlog", "string", "how many requests wait"),
    Key("waiting", "hash", "accepted and not answered: uuid to deadline and entry", "ids", Erased.FIELD),
    Key("unanswered", "hash", "how many were answered for want of a reader, and when the last was"),
    Key("entry-bytes", "string", "bytes of an average request that waits"),
    Key("kept", "hash", "how long each kind is kept now, and what went for want of memory"),
    Key("joined", "hash", "how many join rows each hour has"),
    Key("gaps", "hash", "how many entries were trimmed before a group had read them"),
    Key("lease:DUTY", "string", "who performs a duty now; expires"),
    Key("suspects:ENTRY", "set", "who took the entry over and did not survive it, a day"),
    Key("flush", "string", "while it is there, an archiver writes at once what it read"),
    Key("monitor", "hash", "its state, its position, its fencing number", "ids of wrong answers, tags", Erased.STAYS),
    Key("checkpoints", "hash", "its state every six hours, the newest 28", "ids of wrong answers, tags", Erased.STAYS),
    Key("workers", "hash", "what each serves, how fast, when last seen", scope="MODEL"),
    Key("versions", "hash", "which versions are wanted", scope="MODEL"),
    Key("keys", "hash", "API keys, as digests", scope="server"),
    Key("asked", "hash", "what each caller with a key asks of each gateway now", scope="server"),
    Key("served", "zset", "which models there are", scope="server"),
    Key("models", "stream", "that something changed in a model's versions", scope="server"),
)


def find_key(key: str) -> tuple[Key, Tag | None] | None:
    """Return what *key* is, and whose; None where Observa writes no such key."""
    for one in TABLE:
        if match := one.expression.fullmatch(key):
            of = match.groupdict()
            return one, Tag(of["model"], int(of["shard"] or 0)) if of else None
    return None


async def keys_of_models(redis: Redis, of: Tag | None = None) -> AsyncIterator[tuple[str, Key, Tag]]:
    """Give the keys of every model and shard on the server, or *of* one, but for those of join rows and answers."""
    async for found in redis.scan_iter(match=f"observa:{of or '{*}'}:{_BUT_JOINS_AND_ANSWERS}", count=PAGE):
        key = found.decode(errors="replace")
        if (known := find_key(key)) and known[1]:
            yield key, known[0], known[1]

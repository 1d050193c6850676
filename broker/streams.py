"""Every key and group name, and the ids that lead to them."""

import hashlib
import re
from typing import NamedTuple, Self
from uuid import UUID

import uuid_utils

from broker.manifest import NAME_PATTERN

WORKERS = "workers"  # the group that answers
MONITOR = "monitor"  # a marker group: it shows and guards the monitor's position, nobody reads through it
ARCHIVE = "archive"
SHADOW = "shadow."  # what the names of groups begin with that answer nobody; the version follows
EXPLAINERS = "explainers"  # the group that explains; it reads a stream of its own

SERVED = "observa:served"  # sorted set: model name to the time its workers last announced it, Redis ms
KEYS = "observa:keys"  # hash: id of an API key to what is kept of it
CHANGES = "observa:models"  # stream: says only that the wanted versions of a model changed

UUID_LENGTH = 36
IDEM_SLOTS = 16  # of the ring of Idempotency-Keys: all are asked for a key, one is written, the oldest goes first
_ID = re.compile(
    rf"(?P<model>{NAME_PATTERN})\.(?P<shard>0|[1-9][0-9]{{0,3}})"
    r"\.(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"
)


class Tag(NamedTuple):  # made and looked up several times a request: a dataclass takes three times as long
    """One model's one shard. In a key it stands in braces, so that one cluster slot holds all its keys."""

    model: str
    shard: int = 0

    def __str__(self) -> str:
        return f"{{{self.model}}}" if self.shard == 0 else f"{{{self.model}/{self.shard}}}"

    def key(self, name: str) -> str:
        """Return ``observa:{TAG}:name``."""
        return f"observa:{self}:{name}"

    @property
    def requests(self) -> str:
        """Stream: one text to classify per entry."""
        return self.key("requests")

    @property
    def results(self) -> str:
        """Stream: one prediction, or one error, per entry."""
        return self.key("results")

    @property
    def feedback(self) -> str:
        """Stream: one true label per entry, already joined with its prediction."""
        return self.key("feedback")

    @property
    def dead(self) -> str:
        """Stream: what could not be processed, and why."""
        return self.key("dead")

    @property
    def alerts(self) -> str:
        """Stream: an alarm began or ended, with its evidence."""
        return self.key("alerts")

    @property
    def explain(self) -> str:
        """Stream: one text to explain per entry, gone once it is explained; the whole stream expires."""
        return self.key("explain")

    @property
    def explanations(self) -> str:
        """Stream: what came of one explanation per entry, without its words."""
        return self.key("explanations")

    def explained(self, explanation: str) -> str:
        """String: the state of one explanation, at the end with its words; expires."""
        return self.key(f"explained:{explanation}")

    @property
    def explainer(self) -> str:
        """String: an explainer works for this tag; expires unless it is said again."""
        return self.key("explainer")

    @property
    def born(self) -> str:
        """String: a random mark of this log; another value means another log, and old positions mean nothing."""
        return self.key("born")

    @property
    def backlog(self) -> str:
        """Integer: entries accepted and not yet acknowledged by the workers."""
        return self.key("backlog")

    @property
    def entry_bytes(self) -> str:
        """Integer: bytes of an average entry of those that are accepted and not yet acknowledged."""
        return self.key("entry-bytes")

    @property
    def kept(self) -> str:
        """Hash: how long each kind is kept at the present rate, and what was given up for want of memory."""
        return self.key("kept")

    @property
    def waiting(self) -> str:
        """Hash: uuid of each accepted request without an answer to the time its deadline passes, and its entry."""
        return self.key("waiting")

    @property
    def unanswered(self) -> str:
        """Hash: how many requests no reader had any more when their deadline had passed, and when the last one was."""
        return self.key("unanswered")

    @property
    def gaps(self) -> str:
        """Hash: ``stream/group`` to the number of entries that were trimmed before that group had read them."""
        return self.key("gaps")

    def suspects(self, entry_id: str) -> str:
        """Set: workers that took over this one entry of the requests, and did not survive it; expires."""
        return self.key(f"suspects:{entry_id}")

    @property
    def joined(self) -> str:
        """Hash: hour to the number of join rows written for predictions of that hour."""
        return self.key("joined")

    @property
    def flush(self) -> str:
        """String: while it is there, the archiver writes what it has read without waiting for more."""
        return self.key("flush")

    def replies(self, gateway: str) -> str:
        """Stream: answers addressed to the gateway process that waits for them."""
        return self.key(f"replies:{gateway}")

    def answers(self, minute: int) -> str:
        """Hash: id to ``pending`` or to the whole answer, for ids of one minute."""
        return self.key(f"answers:{minute}")

    def joins(self, second: int) -> str:
        """Hash: uuid to the join row, for ids of one second."""
        return self.key(f"joins:{second}")

    def idem(self, slot: int | str) -> str:
        """Hash: Idempotency-Key to what it stands for, of one slot of the ring.

        A string of a key's whole digest, as long as an older Observa's keys live.
        """
        return self.key(f"idem:{slot}")

    @property
    def idem_ring(self) -> str:
        """Hash: ``head`` to the slot that is written, and each slot to the time it began, Unix ms."""
        return self.key("idem:ring")

    def lease(self, duty: str) -> str:
        """String: who performs *duty* for this tag now; expires."""
        return self.key(f"lease:{duty}")


def workers_key(model: str) -> str:
    """Hash: worker name to what it announced."""
    return f"observa:{{{model}}}:workers"


def versions_key(model: str) -> str:
    """Hash: the state wanted now; field ``live`` holds a version."""
    return f"observa:{{{model}}}:versions"


def shadow_group(version: str) -> str:
    """Return the group through which *version* reads requests as a shadow."""
    return f"{SHADOW}{version}"


class PredictionId(NamedTuple):
    """``MODEL.SHARD.UUIDv7``: where a prediction is kept, and how old it is."""

    tag: Tag
    uuid: str

    @classmethod
    def new(cls, tag: Tag) -> Self:
        """Make an id for a request that begins now."""
        return cls(tag, str(uuid_utils.uuid7()))

    @classmethod
    def of_entry(cls, tag: Tag, entry_id: str) -> Self:
        """Derive the one id of a log entry that was written without one, the same on every delivery."""
        time_ms, _, sequence = entry_id.partition("-")
        value = int(time_ms) % (1 << 48) << 80 | 7 << 76 | 2 << 62 | int(sequence) % (1 << 62)
        return cls(tag, str(UUID(int=value)))

    @classmethod
    def known_by(cls, tag: Tag, entry_id: str, written: str) -> Self:
        """Return what an entry of *tag* is known by: the id *written* in it, or its own where that is none of *tag*."""
        try:
            found = cls.parse(written)
        except ValueError:
            return cls.of_entry(tag, entry_id)
        return found if found.tag == tag else cls.of_entry(tag, entry_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id back.

        Raises:
            ValueError: *text* is not an id.

        """
        match = _ID.fullmatch(text)
        if match is None:
            raise ValueError("not a prediction id; one looks like MODEL.SHARD.UUIDv7")
        return cls(Tag(match["model"], int(match["shard"])), match["uuid"])

    def __str__(self) -> str:
        return f"{self.tag.model}.{self.tag.shard}.{self.uuid}"

    @property
    def time_ms(self) -> int:
        """When the id was made, Unix milliseconds, by the clock of whoever made it."""
        return time_ms_of(self.uuid)

    @property
    def answers_key(self) -> str:
        """The hash that holds this id's answer."""
        return self.tag.answers(self.time_ms // 60_000)

    @property
    def joins_key(self) -> str:
        """The hash that holds this id's join row."""
        return self.tag.joins(self.time_ms // 1000)


def time_ms_of(prediction_id: str) -> int:
    """Return when a well-formed id, or its UUID alone, was made, Unix milliseconds."""
    at = len(prediction_id) - UUID_LENGTH
    return int(prediction_id[at : at + 8] + prediction_id[at + 9 : at + 13], 16)


def shard_of(key: str, shards: int) -> int:
    """Choose the shard of *key* (an id, a subject, an Idempotency-Key): evenly spread, and stable.

    With more shards a key stays where it was, or is on a new one (Lamping and Veach, "A Fast, Minimal Memory,
    Consistent Hash Algorithm", 2014).
    """
    return shards_over_time(key, shards)[-1]


def shards_over_time(key: str, shards: int) -> list[int]:
    """Return every shard that *key* had since there was one, up to *shards* of them: about as many as their logarithm.

    As numbers that grow; the last one is where it is now.
    """
    state = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    places, place = [], 0
    while place < shards:
        places.append(place)
        state = (state * 2_862_933_555_777_941_757 + 1) % (1 << 64)
        place = int((place + 1) * (1 << 31) / ((state >> 33) + 1))
    return places


def entry_time_ms(entry_id: str) -> int:
    """Return the Redis time at which an entry was added, Unix milliseconds."""
    return int(entry_id.partition("-")[0])

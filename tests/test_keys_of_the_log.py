"""The table of keys against the code, the users' rules and the documents."""

import re
from pathlib import Path

import pytest

from broker.forgetting import PLACES
from broker.keys import TABLE, Erased, Key, find_key
from broker.streams import PredictionId, Tag, versions_key, workers_key

ROOT = Path(__file__).parent.parent
ROOMS = ("broker", "gateway", "worker", "monitor", "archive", "cli", "trainer", "deploy")
TAG = Tag("sentiment", 3)
OF = PredictionId.parse("sentiment.3.01a22d03-2551-747b-876b-2d6e758bf8e8")  # one for all processes that collect


def rows_of(page: str) -> list[tuple[str, ...]]:
    """The four columns of the page's table of keys."""
    row = r"^\| `(observa:[^`]+)` \| (.*?) \| (.*?) \| (.*?) \|$"
    return re.findall(row, (ROOT / "docs" / page).read_text(), re.MULTILINE)


def test_the_operator_reads_what_is_forgotten_where():
    assert rows_of("operations.md") == [(key.pattern, key.kind, key.personal, key.erased) for key in TABLE]


def test_the_architecture_names_every_key_and_what_it_holds():
    assert [(row[0], row[3]) for row in rows_of("architecture.md")] == [(key.pattern, key.holds) for key in TABLE]


def test_every_key_that_the_code_names_is_in_the_table():
    names = {key.name.partition(":")[0] for key in TABLE}
    of_tags, of_server = set(), set()
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            text = file.read_text()
            of_tags |= set(re.findall(r"\.key\(f?\"([a-z-]+)", text))
            of_server |= set(re.findall(r"\"(observa:[a-z-]+)\"", text))
    assert of_tags
    assert of_tags <= names
    assert {key for key in of_server if not find_key(key)} == set()


def test_every_key_that_a_user_may_touch_is_in_the_table_and_every_key_is_some_users():
    rules = (ROOT / "deploy/redis/users.acl").read_text()
    allowed = {pattern.rstrip(")") for pattern in re.findall(r"~(observa:\S+)", rules)} - {"observa:*"}
    filled = {pattern: pattern.replace("{*}", "{m}").replace("*", "x") for pattern in allowed}
    unknown = {pattern for pattern, key in filled.items() if find_key(key) is None}
    assert unknown == set()
    named = {found[0] for key in filled.values() if (found := find_key(key))}
    only_operators = {"flush", "replay:RUN"}
    assert {key.name for key in TABLE if key not in named} <= only_operators


@pytest.mark.parametrize(
    ("key", "name", "tag"),
    [
        (TAG.requests, "requests", TAG),
        (TAG.replies("gw"), "replies:GATEWAY", TAG),
        (TAG.explained(str(OF)), "explained:ID", TAG),
        (TAG.key("replay:a:b\nc"), "replay:RUN", TAG),
        (OF.answers_key, "answers:MINUTE", TAG),
        (OF.joins_key, "joins:SECOND", TAG),
        (TAG.lease("janitor"), "lease:DUTY", TAG),
        (workers_key("sentiment"), "workers", Tag("sentiment")),
        (versions_key("a.b-c"), "versions", Tag("a.b-c")),
        ("observa:keys", "keys", None),
    ],
)
def test_a_key_is_found_with_its_owner(key, name, tag):
    found = find_key(key)
    assert found
    assert (found[0].name, found[1]) == (name, tag)


@pytest.mark.parametrize(
    "key", ["observa:{a}:nothing", "observa:{a/0}:born", "observa:{a}:answers", "x", "observa:{}:born"]
)
def test_what_observa_does_not_write_is_not_found(key):
    assert find_key(key) is None


def test_what_can_hold_something_of_a_person_is_erased_or_said_to_stay():
    assert all((key.personal == "-") == (key.erased == Erased.NOTHING) for key in TABLE)


def test_what_forgets_knows_where_each_key_holds_one_prediction():
    assert {key.name for key in TABLE if key.erased in {Erased.FIELD, Erased.KEY}} == PLACES.keys()
    assert {key.kind for key in TABLE if key.erased in {Erased.ENTRIES, Erased.ENTRIES_NOW}} == {"stream"}
    assert {key.kind for key in TABLE if key.erased == Erased.NAMED} == {"hash"}


def test_a_key_is_listed_once():
    assert len({key.pattern for key in TABLE}) == len(TABLE)
    assert Key("joined", "hash", "x").is_one
    assert not Key("joins:SECOND", "hash", "x").is_one

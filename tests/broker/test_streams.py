import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.streams import PredictionId, Tag, shard_of, shards_over_time

TAGS = st.builds(Tag, st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True), st.integers(0, 1023))


@given(TAGS)
def test_an_id_says_where_it_is_kept_and_when_it_was_made(tag):
    before = time.time_ns() // 1_000_000
    ident = PredictionId.new(tag)
    assert PredictionId.parse(str(ident)) == ident
    assert before <= ident.time_ms <= time.time_ns() // 1_000_000
    assert ident.answers_key.startswith(f"observa:{tag}:answers:")


@given(TAGS, st.integers(0, 2**47), st.integers(0, 2**40))
def test_an_entry_without_an_id_gets_the_same_id_on_every_delivery(tag, milliseconds, sequence):
    entry = f"{milliseconds}-{sequence}"
    ident = PredictionId.of_entry(tag, entry)
    assert ident == PredictionId.of_entry(tag, entry) == PredictionId.parse(str(ident))
    assert ident.time_ms == milliseconds
    assert ident != PredictionId.of_entry(tag, f"{milliseconds}-{sequence + 1}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sentiment",
        "sentiment.0.not-a-uuid",
        "sentiment.0.0193b5c4-0000-4000-8000-000000000000",
        "sentiment.01.0193b5c4-0000-7000-8000-000000000000",
        "Sentiment.0.0193b5c4-0000-7000-8000-000000000000",
        "../x.0.0193b5c4-0000-7000-8000-000000000000",
        "sentiment.0.0193b5c4-0000-7000-8000-000000000000\n",
        "sentiment.-1.0193b5c4-0000-7000-8000-000000000000",
    ],
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError, match=r"MODEL\.SHARD\.UUIDv7"):
        PredictionId.parse(text)


def test_all_keys_of_one_tag_share_a_cluster_slot():
    tag = Tag("sentiment", 3)
    keys = [tag.requests, tag.results, tag.answers(1), tag.joins(2), tag.idem("x"), tag.replies("g"), tag.lease("d")]
    assert all(key.startswith("observa:{sentiment/3}:") for key in keys)
    assert Tag("sentiment").requests == "observa:{sentiment}:requests"


def test_keys_are_spread_evenly_over_shards():
    counts = [0] * 4
    for number in range(4000):
        counts[shard_of(f"key-{number}", 4)] += 1
    assert min(counts) > 900


def test_a_key_stays_on_its_shard_or_goes_to_a_new_one_when_there_are_more():
    for key in (f"key-{number}" for number in range(500)):
        places = [shard_of(key, shards) for shards in range(1, 17)]
        assert places[0] == 0
        assert all(after in {before, new} for new, (before, after) in enumerate(pairwise(places), 1))
        assert shards_over_time(key, 16) == sorted(set(places))

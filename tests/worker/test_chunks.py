from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from worker.chunks import chunks

lengths_of_texts = st.lists(st.integers(2, 512), max_size=200)


@given(lengths_of_texts)
def test_every_text_is_in_exactly_one_chunk(lengths):
    assert sorted(row for chunk in chunks(lengths) for row in chunk) == list(range(len(lengths)))


@given(lengths_of_texts, st.integers(1, 64), st.integers(0, 32), st.integers(1, 2048))
def test_no_chunk_is_larger_or_padded_more_than_allowed(lengths, most_rows, most_padding, most_tokens):
    for chunk in chunks(lengths, most_rows, most_padding, most_tokens):
        own = [lengths[row] for row in chunk]
        assert len(chunk) <= most_rows
        assert max(own) - min(own) <= most_padding
        assert len(chunk) == 1 or len(chunk) * max(own) <= most_tokens


@given(lengths_of_texts)
def test_a_chunk_ends_only_where_a_limit_is_reached(lengths):
    found = chunks(lengths)
    for chunk, following in pairwise(found):
        added = lengths[following[0]]
        assert len(chunk) == 16 or added - lengths[chunk[0]] > 8 or (len(chunk) + 1) * added > 256


def test_a_short_text_does_not_share_a_tensor_with_a_long_one():
    assert chunks([128, 5, 6, 120]) == [[1, 2], [3, 0]]

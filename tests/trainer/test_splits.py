import pytest

from broker.text import Normalisation
from trainer.splits import Example, Splits, bucket_of, digest, joined, normalised, require_disjoint, split

TEXTS = [f"snippet number {number}" for number in range(1000)]


def test_case_and_whitespace_do_not_change_the_bucket():
    assert bucket_of("A  Fine\tfilm ") == bucket_of("a fine film")


def test_a_text_keeps_its_part_when_others_are_added():
    few = split([Example(text, 0) for text in TEXTS[:100]])
    many = split([Example(text, 0) for text in TEXTS])
    for before, after in zip(few, many, strict=True):
        assert set(before) <= set(after)


def test_about_fifteen_of_a_hundred_texts_are_for_the_test_and_ten_for_validation():
    parts = split([Example(text, 0) for text in TEXTS])
    assert sum(map(len, parts)) == 1000
    assert 110 < len(parts.test) < 190
    assert 70 < len(parts.valid) < 130


def test_no_text_is_in_two_parts():
    with pytest.raises(ValueError, match="1 texts are in two splits"):
        require_disjoint(Splits([Example("Same text", 0)], [], [Example("same  TEXT", 1)]))


def test_the_digest_does_not_depend_on_order():
    first = [Example("a", 0), Example("b", 1)]
    assert digest(Splits(first, [], [])) == digest(Splits(first[::-1], [], []))


@pytest.mark.parametrize("changed", [[Example("a", 1)], [Example("b", 0)], []])
def test_the_digest_changes_with_text_and_label(changed):
    assert digest(Splits([Example("a", 0)], [], [])) != digest(Splits(changed, [], []))


def test_the_digest_changes_with_the_part():
    assert digest(Splits([Example("a", 0)], [], [])) != digest(Splits([], [], [Example("a", 0)]))


def test_domains_join_part_by_part():
    one, other = Splits([Example("a", 0)], [], []), Splits([Example("b", 1)], [Example("c", 1)], [])
    assert joined([one, other]) == Splits([Example("a", 0), Example("b", 1)], [Example("c", 1)], [])


def test_a_text_of_two_data_sets_counts_once_and_for_the_test_where_one_says_so():
    one = Splits([Example("Same text", 0), Example("b", 0)], [], [])
    other = Splits([Example("b", 1)], [], [Example("same  text", 1)])
    assert joined([one, other]) == Splits([Example("b", 0)], [], [Example("same  text", 1)])


def test_normalising_changes_texts_and_no_labels():
    assert normalised(Splits([Example("A  b", 1)], [], []), Normalisation(lowercase=True)).train == [Example("a b", 1)]

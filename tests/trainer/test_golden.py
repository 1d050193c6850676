import numpy as np

from broker.manifest import Golden, parsed
from trainer.golden import MADE_UP, TEXTS, choose


def chosen(probabilities):
    rows = np.array(probabilities, dtype=np.float64)
    return [int(one.text) for one in parsed(choose([*map(str, range(len(rows)))], rows), Golden, "golden.json").texts]


def test_golden_texts_are_certain_and_of_every_label():
    found = chosen([[0.95, 0.05]] * 40 + [[0.05, 0.95]] * 40 + [[0.55, 0.45]] * 40)
    assert len(found) == TEXTS
    assert sum(at < 40 for at in found) == TEXTS // 2
    assert all(at < 80 for at in found)


def test_where_nothing_is_certain_the_most_certain_are_chosen():
    found = chosen([[0.5 + at / 100, 0.5 - at / 100] for at in range(20)])
    assert len(found) == TEXTS
    assert 19 in found
    assert 0 not in found


def test_there_are_enough_of_them_and_none_twice():
    assert len(set(MADE_UP)) == len(MADE_UP) >= 2 * TEXTS

import numpy as np

from broker.manifest import Golden, parsed
from trainer.golden import LONGEST, TEXTS, choose
from trainer.splits import Example


def chosen(probabilities, lengths=None):
    rows = np.array(probabilities, dtype=np.float64)
    examples = [
        Example(f"{at} ".ljust((lengths or {}).get(at, 20), "x"), int(row.argmax())) for at, row in enumerate(rows)
    ]
    return [one.text.split()[0].rstrip("x") for one in parsed(choose(examples, rows), Golden, "golden.json").texts]


def test_golden_texts_are_short_and_certain_and_of_every_label():
    rows = [[0.95, 0.05]] * 40 + [[0.05, 0.95]] * 40 + [[0.55, 0.45]] * 40
    found = chosen(rows, {0: LONGEST + 1})
    assert len(found) == TEXTS
    assert sum(int(at) < 40 for at in found) == TEXTS // 2
    assert "0" not in found
    assert all(int(at) < 80 for at in found)


def test_where_nothing_is_certain_the_most_certain_are_chosen():
    found = chosen([[0.5 + at / 100, 0.5 - at / 100] for at in range(20)])
    assert len(found) == TEXTS
    assert "19" in found
    assert "0" not in found

"""How sure one may be that one version is right as often as another, however often one looks.

A bet against "the mean difference is at most m" multiplies its capital by ``1 + bet * (difference - m)`` with each
label. If the claim is true, the capital is a nonnegative supermartingale that begins at 1, so it ever reaches 20 with a
probability of at most 1 in 20 (Ville's inequality), whenever one looks and stops. The mean of several such capitals is
one, too. I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting, Journal of the Royal
Statistical Society B 86(1), 2024, pages 1 to 27, has the capital and the confidence sequence it gives. Bets that do not
change make the capital the same in whatever order the labels came.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

ERROR: Final = 0.05  # of each statement
MARGIN: Final = 0.01  # accuracy that a version may be worse and still count as no worse
BETS: Final = tuple(0.9 * 2 ** (-step / 2) for step in range(16))  # shares of the capital: 0.9 to 0.005
MOST_AT_STAKE: Final = 0.9  # of the capital on one label
STEPS: Final = 40  # halvings of the range in which a bound is looked for: 2e-12 of it

Tally = Mapping[float, int]  # difference, -1 to 1, to how often it was seen


def evidence(tally: Tally, most: float) -> float:
    """Return the logarithm of the capital won against "the mean is at most *most*" (-1 < most < 1)."""
    logs = [_log_capital(tally, most, bet) for bet in BETS]
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


def is_above(tally: Tally, least: float, error: float = ERROR) -> bool:
    """Tell whether the mean is above *least*, as far as a statement of this *error* may."""
    return evidence(tally, least) >= -math.log(error)


def is_below(tally: Tally, most: float, error: float = ERROR) -> bool:
    """Tell whether the mean is below *most*, as far as a statement of this *error* may."""
    return is_above(mirrored(tally), -most, error)


def bounds(tally: Tally, error: float = ERROR) -> tuple[float, float]:
    """Return the lower and the upper bound of the mean; each is ever wrong with probability *error* at most."""
    return _lower(tally, error), -_lower(mirrored(tally), error)


def labels_needed(tally: Tally, most: float, error: float = ERROR) -> int | None:
    """Return about how many labels more will show that the mean is above *most*, if they go on as they came.

    One label in favour and one against are added as halves, so that few labels do not promise too much. None: as they
    came, no number will.
    """
    seen = Counter[float]()
    for value, count in tally.items():
        seen[value] += 2 * count
    seen.update({1.0: 1, -1.0: 1})
    growth = max(_log_capital(seen, most, bet) for bet in BETS) / seen.total()
    if growth <= 0:
        return None
    return max(1, math.ceil((-math.log(error) - evidence(tally, most)) / growth))


def mirrored(tally: Tally) -> Tally:
    """Return the tally with the two versions changed over."""
    return {-value: count for value, count in tally.items()}


def mean(tally: Tally) -> float | None:
    """Return the mean difference; None for no label."""
    total = sum(tally.values())
    return math.fsum(value * count for value, count in tally.items()) / total if total else None


def blocks(arrivals: Iterable[tuple[bool, bool]]) -> Counter[float]:
    """Return differences between versions that answered different texts, from (is the second version's, was right).

    Labels are taken in the order in which they came until there is one of each version; the difference of their mean
    accuracies is one entry, and the next block begins. Which labels share a block depends on who came when and never
    on who was right, so each entry's mean is the difference of the accuracies.
    """
    found = Counter[float]()
    right, count = [0, 0], [0, 0]
    for is_second, was_right in arrivals:
        right[is_second] += was_right
        count[is_second] += 1
        if all(count):
            found[right[1] / count[1] - right[0] / count[0]] += 1
            right, count = [0, 0], [0, 0]
    return found


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, from how often only one of the two versions was right.

    Q. McNemar, Psychometrika 12(2), 1947, pages 153 to 157; exact: the smaller count is binomial with probability 1/2.
    It holds for one look, planned before.
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer == count:
        return 1.0
    log_all = count * math.log(2)
    tail = math.fsum(
        math.exp(math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - log_all)
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * tail)


def _log_capital(tally: Tally, most: float, bet: float) -> float:
    """Return the logarithm of what one bet made of 1; it falls as *most* rises, so that a bound can be looked for."""
    stake = min(bet, MOST_AT_STAKE / (1 + most))
    return math.fsum(count * math.log1p(stake * (value - most)) for value, count in tally.items())


def _lower(tally: Tally, error: float) -> float:
    below, above = -1.0, 1.0
    for _ in range(STEPS):
        middle = (below + above) / 2
        if is_above(tally, middle, error):
            below = middle
        else:
            above = middle
    return below
